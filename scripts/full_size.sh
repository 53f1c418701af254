#!/usr/bin/env bash
# The four steps at full size on two or four GPUs of one host, each evaluated over 1024 episodes.
#   bash scripts/full_size.sh results/full_size
#   GPUS=4 CLIPS=data/fifteen bash scripts/full_size.sh results/full_size
# Two: the tracker of walk, run and jump on both; MaskedMimic beside the three teachers; the student beside the robust one.
# Four: the tracker on three, the goals on the third; the student on two, the robust one on the third; and on the fourth, all the while,
# a tracker of the clips in CLIPS. Seconds of training can be set: TRACKER=480 MASKED_MIMIC=230 PATHS=50 GOALS=120 STEERING=120 STUDENT=380
# MANY_CLIPS=1200. With SMALL=1 everything is tried out on a CPU, two iterations each. Logs and the times of each step lie beside the runs.
set -euo pipefail
root=$1
gpus=${GPUS:-2}
third=1
if ((gpus > 2)); then third=2; fi
mkdir -p "$root/logs"

motions=data/motions/smpl_humanoid
clips="run.motion_file=[${motions}_walk.npy,${motions}_run.npy,${motions}_jump.npy]"
one=(python3 -m protege.core.umbrella)
simulator=(--simulator mjwarp) episodes=(--num-episodes 1024 --num-envs 1024) small=() small_vae=()
if [[ ${SMALL:-} ]]; then
  simulator=(--num-envs 16) episodes=(--num-episodes 8 --num-envs 8)
  small=(model.latent_dim=32 model.ff_size=32 model.num_layers=1 env.num_plans=16)
  small_vae=(agent.latent_dim=32 agent.ff_size=32 agent.num_layers=1)
fi

say() { echo "$(date +%T) $*" | tee -a "$root/logs/times"; }

# budget SECONDS
budget() { if [[ ${SMALL:-} ]]; then echo "--max-iterations 2"; else echo "--max-time $1 --max-iterations 100000"; fi; }

# run NAME COMMAND...: its output goes into a log
run() {
  local name=$1
  shift
  say "$name"
  "$@" > "$root/logs/$name.log" 2>&1 || { say "$name failed: $root/logs/$name.log"; return 1; }
  say "$name done"
}

# train CARDS NAME SECONDS COMMAND...: on one card, or with a rank on each of several, 0,1
train() {
  local cards=$1 name=$2 seconds=$3 start=("${one[@]}")
  shift 3
  if [[ $cards == *,* && ! ${SMALL:-} ]]; then
    start=(python3 -m torch.distributed.run --nproc-per-node "$(tr -cd , <<< "$cards," | wc -c)" -m protege.core.umbrella)
  fi
  # shellcheck disable=SC2046
  CUDA_VISIBLE_DEVICES=$cards run "$name" "${start[@]}" "$@" "${simulator[@]}" $(budget "$seconds") \
    --results-dir "$root" --experiment-name "$name"
}

# evaluate CARD CHECKPOINT OPTIONS...
evaluate() {
  local card=$1 checkpoint=$2
  shift 2
  CUDA_VISIBLE_DEVICES=$card run "${checkpoint}_evaluation" "${one[@]}" distill evaluate --checkpoint "$root/$checkpoint" \
    "${episodes[@]}" --output "$root/${checkpoint}_evaluation" "$@"
}

many=
if ((gpus > 3)) && [[ ${CLIPS:-} ]]; then
  (
    all="run.motion_file=[$(printf '%s\n' "$CLIPS"/*.npy | paste -sd,)]"
    train 3 many_clips "${MANY_CLIPS:-1200}" core train full_body_tracker/generalist "$all" \
      "env.task_mix={track: 1, path: 0, goal: 0, steering: 0}" "${small[@]}"
    evaluate 3 many_clips
  ) &
  many=$!
fi

train "$(seq -s, 0 "$third")" tracker "${TRACKER:-480}" core train full_body_tracker/generalist "$clips" "${small[@]}"

expert=("$clips" "agent.expert_model_path=$root/tracker")
train 0 masked_mimic "${MASKED_MIMIC:-230}" core train masked_mimic/path_follower "${expert[@]}" "${small_vae[@]}" &
vae=$!
goals() {
  train "$third" goal_directed "${GOALS:-120}" teachers train goal_directed "${expert[@]}" "${small[@]}"
  evaluate "$third" tracker
}
others() {
  train 1 path_follower "${PATHS:-50}" teachers train path_follower "${expert[@]}" "${small[@]}"
  train 1 steering "${STEERING:-120}" teachers train steering "${expert[@]}" "${small[@]}"
}
if ((third > 1)); then
  goals &
  beside=$!
  others
  wait "$beside"
else # they share a card: one after the other, so that each has its seconds
  goals
  others
fi
wait "$vae"

teachers=()
for name in path_follower goal_directed steering masked_mimic; do
  teachers+=("agent.teacher_models.$name.checkpoint=[$root/$name]")
done
unified=(--opt distillation/tasks/unified_evaluation)

# student CARDS NAME PRESET: trains and evaluates it, without and with pushes
student() {
  local cards=$1 name=$2 preset=$3
  train "$cards" "$name" "${STUDENT:-380}" distill train "distillation/$preset" agent.evaluation_interval=0 "$clips" \
    "${teachers[@]}" "${small[@]}"
  evaluate "${cards%,*}" "$name" "${unified[@]}"
  CUDA_VISIBLE_DEVICES=${cards%,*} run "${name}_pushed" "${one[@]}" distill evaluate --checkpoint "$root/$name" "${episodes[@]}" \
    --output "$root/${name}_pushed" "${unified[@]}" --push 240
}
student "$(seq -s, 0 $((third - 1)))" student unified_lightweight &
plain=$!
student "$third" robust robust &
robust=$!
for name in goal_directed path_follower steering; do evaluate $((gpus - 1)) "$name"; done
evaluate $((gpus - 1)) masked_mimic --opt masked_mimic/tasks/patterns
for process in "$plain" "$robust" $many; do wait "$process"; done
say "all done"
