#!/usr/bin/env bash
# The four steps at full size on two or four GPUs of one host, each evaluated over 1024 episodes.
#   bash scripts/full_size.sh results/full_size
#   GPUS=4 CLIPS=data/fifteen bash scripts/full_size.sh results/full_size
# Two: the tracker of walk, run and jump on both; MaskedMimic beside the three teachers; the student beside the robust one.
# Four: the tracker on three, the goals on the third, a student with PPO there too; and on the fourth, all the while, a tracker of the
# clips in CLIPS. Seconds of training can be set: TRACKER=480 MASKED_MIMIC=230 PATHS=50 GOALS=120 STEERING=90 STUDENT=380
# MANY_CLIPS=1200. With SMALL=1 everything is tried out on a CPU, two iterations each. Logs and the times of each step lie beside the runs.
set -euo pipefail
root=$1
gpus=${GPUS:-2}
ranks=2 third=1
if ((gpus > 2)); then ranks=3 third=2; fi
mkdir -p "$root/logs"

motions=data/motions/smpl_humanoid
clips="run.motion_file=[${motions}_walk.npy,${motions}_run.npy,${motions}_jump.npy]"
distributed=(python3 -m torch.distributed.run --nproc-per-node "$ranks" -m protege.core.umbrella)
simulator=(--simulator mjwarp) episodes=(--num-episodes 1024 --num-envs 1024) small=() small_vae=()
if [[ ${SMALL:-} ]]; then
  distributed=(python3 -m protege.core.umbrella)
  simulator=(--num-envs 16) episodes=(--num-episodes 8 --num-envs 8)
  small=(model.latent_dim=32 model.ff_size=32 model.num_layers=1 env.num_plans=16)
  small_vae=(agent.latent_dim=32 agent.ff_size=32 agent.num_layers=1)
fi

say() { echo "$(date +%T) $*" | tee -a "$root/logs/times"; }

# budget SECONDS
budget() { if [[ ${SMALL:-} ]]; then echo "--max-iterations 2"; else echo "--max-time $1"; fi; }

# run NAME COMMAND...: its output goes into a log
run() {
  local name=$1
  shift
  say "$name"
  "$@" > "$root/logs/$name.log" 2>&1 || { say "$name failed: $root/logs/$name.log"; return 1; }
  say "$name done"
}

# train NAME SECONDS COMMAND...
train() {
  local name=$1 seconds=$2
  shift 2
  # shellcheck disable=SC2046
  run "$name" python3 -m protege.core.umbrella "$@" "${simulator[@]}" $(budget "$seconds") \
    --results-dir "$root" --experiment-name "$name"
}

# evaluate CHECKPOINT OPTIONS...
evaluate() {
  local checkpoint=$1
  shift
  run "${checkpoint}_evaluation" python3 -m protege.core.umbrella distill evaluate --checkpoint "$root/$checkpoint" "${episodes[@]}" \
    --output "$root/${checkpoint}_evaluation" "$@"
}

many=
if ((gpus > 3)) && [[ ${CLIPS:-} ]]; then
  (
    export CUDA_VISIBLE_DEVICES=3
    all="run.motion_file=[$(printf '%s\n' "$CLIPS"/*.npy | paste -sd,)]"
    train many_clips "${MANY_CLIPS:-1200}" core train full_body_tracker/generalist "$all" \
      "env.task_mix={track: 1, path: 0, goal: 0, steering: 0}" "${small[@]}"
    evaluate many_clips
  ) &
  many=$!
fi

# shellcheck disable=SC2046
CUDA_VISIBLE_DEVICES=$(seq -s, 0 $((ranks - 1))) run tracker "${distributed[@]}" core train full_body_tracker/generalist \
  "${simulator[@]}" $(budget "${TRACKER:-480}") "$clips" --results-dir "$root" --experiment-name tracker "${small[@]}"

expert=("$clips" "agent.expert_model_path=$root/tracker")
(
  export CUDA_VISIBLE_DEVICES=0
  train masked_mimic "${MASKED_MIMIC:-230}" core train masked_mimic/path_follower "${expert[@]}" "${small_vae[@]}"
) &
vae=$!
(
  export CUDA_VISIBLE_DEVICES=$third
  train goal_directed "${GOALS:-120}" teachers train goal_directed "${expert[@]}" "${small[@]}"
  evaluate tracker
) &
goals=$!
(
  export CUDA_VISIBLE_DEVICES=1
  train path_follower "${PATHS:-50}" teachers train path_follower "${expert[@]}" "${small[@]}"
  train steering "${STEERING:-90}" teachers train steering "${expert[@]}" "${small[@]}"
)
wait "$vae"
wait "$goals"

teachers=()
for name in path_follower goal_directed steering masked_mimic; do
  teachers+=("agent.teacher_models.$name.checkpoint=[$root/$name]")
done
unified=(--opt distillation/tasks/unified_evaluation)

# student GPU NAME PRESET OPTIONS...: trains and evaluates it, without and with pushes
student() {
  local name=$2 preset=$3
  export CUDA_VISIBLE_DEVICES=$1
  shift 3
  train "$name" "${STUDENT:-380}" distill train "distillation/$preset" agent.evaluation_interval=0 "$clips" "${teachers[@]}" \
    "${small[@]}" "$@"
  evaluate "$name" "${unified[@]}"
  run "${name}_pushed" python3 -m protege.core.umbrella distill evaluate --checkpoint "$root/$name" "${episodes[@]}" \
    --output "$root/${name}_pushed" "${unified[@]}" --push 240
}
(student 0 student unified_lightweight) &
waited=("$!")
(student 1 robust robust) &
waited+=("$!")
if ((gpus > 2)); then
  (student 2 student_ppo unified_lightweight agent.ppo_start=0.8) &
  waited+=("$!")
fi
(
  export CUDA_VISIBLE_DEVICES=$((gpus - 1))
  for name in goal_directed path_follower steering; do evaluate "$name"; done
  evaluate masked_mimic --opt masked_mimic/tasks/patterns
)
for process in "${waited[@]}" $many; do wait "$process"; done
say "all done"
