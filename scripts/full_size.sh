#!/usr/bin/env bash
# The four steps at full size on one to four GPUs of one host, each policy evaluated over 1024 episodes.
#   bash scripts/full_size.sh results/full_size
#   GPUS=4 CLIPS=data/fifteen bash scripts/full_size.sh results/full_size
# One: a step after the other, half an hour of training. Two: the tracker on both, MaskedMimic beside the teachers, a robust student
# beside the plain one. Three: tracker and student on all. Four: the tracker on three, the student on two, a robust one on the third, and
# on the fourth, all the while, a tracker of the clips in CLIPS.
# A card does one thing at a time. Seconds of training, however many cards share a step, can be set: TRACKER=480
# MASKED_MIMIC=230 PATHS=50 GOALS=120 STEERING=120 STUDENT=380 MANY_CLIPS=1200. With SMALL=1 everything is tried out on a CPU, two
# iterations each. Logs and the times of each step lie beside the runs.
set -euo pipefail
root=$1
case ${GPUS:-1} in
  1) tracker=0 vae=0 walks=0 goals=0 student=0 robust='' many='' evaluations=0 ;;
  2) tracker=0,1 vae=0 walks=1 goals=1 student=0 robust=1 many='' evaluations=1 ;;
  3) tracker=0,1,2 vae=0 walks=1 goals=2 student=0,1,2 robust='' many='' evaluations=2 ;;
  4) tracker=0,1,2 vae=0 walks=1 goals=2 student=0,1 robust=2 many=3 evaluations=3 ;;
  *) echo "GPUS is ${GPUS}: take 1 to 4" >&2 && exit 2 ;;
esac
IFS=, read -ra devices <<< "${CUDA_VISIBLE_DEVICES:-0,1,2,3}"
mkdir -p "$root/logs"

motions=data/motions/smpl_humanoid
clips="run.motion_file=[${motions}_walk.npy,${motions}_run.npy,${motions}_jump.npy]"
one=(python3 -m protege.core.cli.umbrella)
simulator=(--simulator mjwarp) episodes=(--num-episodes 1024 --num-envs 1024) small=() small_vae=()
if [[ ${SMALL:-} ]]; then
  simulator=(--num-envs 16) episodes=(--num-episodes 8 --num-envs 8)
  small=(model.latent_dim=32 model.ff_size=32 model.num_layers=1 env.num_plans=16)
  small_vae=(agent.latent_dim=32 agent.ff_size=32 agent.num_layers=1)
fi

say() { echo "$(date +%T) $*" | tee -a "$root/logs/times"; }

# budget SECONDS
budget() { if [[ ${SMALL:-} ]]; then echo "--max-iterations 2"; else echo "--max-time $1 --max-iterations 100000"; fi; }

# run CARDS NAME COMMAND...: once they are free; its output goes into a log
run() (
  local cards=$1 name=$2 visible=() lock
  shift 2
  for card in ${cards//,/ }; do
    exec {lock}> "$root/logs/.card$card"
    flock "$lock"
    visible+=("${devices[card]}")
  done
  say "$name"
  CUDA_VISIBLE_DEVICES=$(IFS=,; echo "${visible[*]}") "$@" > "$root/logs/$name.log" 2>&1 \
    || { say "$name failed: $root/logs/$name.log"; return 1; }
  say "$name done"
)

# train CARDS NAME SECONDS COMMAND...: on one card, or with a rank on each of several, 0,1
train() {
  local cards=$1 name=$2 seconds=$3 start=("${one[@]}")
  shift 3
  if [[ $cards == *,* && ! ${SMALL:-} ]]; then
    start=(python3 -m torch.distributed.run --nproc-per-node "$(tr -cd , <<< "$cards," | wc -c)" -m protege.core.cli.umbrella)
  fi
  # shellcheck disable=SC2046
  run "$cards" "$name" "${start[@]}" "$@" "${simulator[@]}" $(budget "$seconds") \
    --results-dir "$root" --experiment-name "$name"
}

# evaluate CARD CHECKPOINT NAME OPTIONS...
evaluate() {
  local card=$1 checkpoint=$2 name=$3
  shift 3
  run "$card" "$name" "${one[@]}" distill evaluate --checkpoint "$root/$checkpoint" "${episodes[@]}" --output "$root/$name" "$@"
}

if [[ $many && ${CLIPS:-} ]]; then
  {
    all="run.motion_file=[$(printf '%s\n' "$CLIPS"/*.npy | paste -sd,)]"
    train "$many" many_clips "${MANY_CLIPS:-1200}" core train full_body_tracker/generalist "$all" \
      "env.task_mix={track: 1, path: 0, goal: 0, steering: 0}" "${small[@]}"
    evaluate "${many%%,*}" many_clips many_clips_evaluation
  } &
fi

train "$tracker" tracker "${TRACKER:-480}" core train full_body_tracker/generalist "$clips" "${small[@]}"

# soon CARD NAMES: evaluates them at once, if the card then waits for MaskedMimic anyway
late=(tracker goal_directed path_follower steering)
if ((${GPUS:-1} == 3)); then late=(steering); fi
soon() {
  local card=$1
  shift
  if ((${GPUS:-1} == 3)); then for name; do evaluate "$card" "$name" "${name}_evaluation"; done; fi
}

expert=("$clips" "agent.expert_model_path=$root/tracker")
train "$vae" masked_mimic "${MASKED_MIMIC:-230}" core train masked_mimic/path_follower "${expert[@]}" "${small_vae[@]}" &
steps=($!)
{
  train "$walks" path_follower "${PATHS:-50}" teachers train path_follower "${expert[@]}" "${small[@]}"
  train "$walks" steering "${STEERING:-120}" teachers train steering "${expert[@]}" "${small[@]}"
  soon "$walks" path_follower
} &
steps+=($!)
{
  train "$goals" goal_directed "${GOALS:-120}" teachers train goal_directed "${expert[@]}" "${small[@]}"
  soon "$goals" tracker goal_directed
} &
steps+=($!)
for step in "${steps[@]}"; do wait "$step"; done

teachers=()
for name in path_follower goal_directed steering masked_mimic; do
  teachers+=("agent.teacher_models.$name.checkpoint=[$root/$name]")
done

# distil CARDS NAME PRESET: trains a student
distil() {
  train "$1" "$2" "${STUDENT:-380}" distill train "distillation/$3" agent.evaluation_interval=0 "$clips" "${teachers[@]}" "${small[@]}"
}

# examine CARDS NAME: on the first of them, without and with pushes
examine() {
  local unified=(--opt distillation/tasks/unified_evaluation)
  evaluate "${1%%,*}" "$2" "$2_evaluation" "${unified[@]}"
  evaluate "${1%%,*}" "$2" "$2_pushed" "${unified[@]}" --push 240
}

if [[ $robust ]]; then { distil "$robust" robust robust; examine "$robust" robust; } & fi
if [[ ,$student, == *,$evaluations,* ]]; then
  distil "$student" student unified_lightweight # whose cards the evaluations need
  examine "$student" student &
else
  { distil "$student" student unified_lightweight; examine "$student" student; } &
fi
for name in "${late[@]}"; do evaluate "$evaluations" "$name" "${name}_evaluation"; done
evaluate "$evaluations" masked_mimic masked_mimic_evaluation --opt masked_mimic/tasks/patterns
for step in $(jobs -p); do wait "$step"; done
say "all done"
