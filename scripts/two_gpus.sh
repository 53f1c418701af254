#!/usr/bin/env bash
# The four steps at full size on two GPUs of one host: the tracker on both, then step 2 beside step 3, then the
# student beside the robust one, each evaluated.
#   bash scripts/two_gpus.sh results/two_gpus
# Seconds of training can be set: TRACKER=540 MASKED_MIMIC=200 PATHS=40 GOALS=95 STEERING=65 STUDENT=330. With SMALL=1 everything
# is tried out on a CPU, two iterations each. Logs and the times of each step lie beside the runs.
set -euo pipefail
root=$1
mkdir -p "$root/logs"

motions=data/motions/smpl_humanoid
clips="run.motion_file=[${motions}_walk.npy,${motions}_run.npy,${motions}_jump.npy]"
ranks=(python3 -m torch.distributed.run --nproc-per-node 2 -m protege.core.umbrella)
simulator=(--simulator mjwarp) episodes=(--num-episodes 1024 --num-envs 1024) small=() small_vae=()
if [[ ${SMALL:-} ]]; then
  ranks=(python3 -m protege.core.umbrella)
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
  run "$name" python3 -m protege.core.umbrella "$@" "${simulator[@]}" $(budget "$seconds") "$clips" \
    --results-dir "$root" --experiment-name "$name"
}

# evaluate NAME CHECKPOINT OPTIONS...
evaluate() {
  local name=$1 checkpoint=$2
  shift 2
  run "$name" python3 -m protege.core.umbrella distill evaluate --checkpoint "$root/$checkpoint" "${episodes[@]}" \
    --output "$root/$name" "$@"
}

# shellcheck disable=SC2046
run tracker "${ranks[@]}" core train full_body_tracker/generalist "${simulator[@]}" $(budget "${TRACKER:-540}") "$clips" \
  --results-dir "$root" --experiment-name tracker "${small[@]}"

expert="agent.expert_model_path=$root/tracker"
(
  export CUDA_VISIBLE_DEVICES=0
  train masked_mimic "${MASKED_MIMIC:-200}" core train masked_mimic/path_follower "$expert" "${small_vae[@]}"
) &
vae=$!
(
  export CUDA_VISIBLE_DEVICES=1
  train path_follower "${PATHS:-40}" teachers train path_follower "$expert" "${small[@]}"
  train goal_directed "${GOALS:-95}" teachers train goal_directed "$expert" "${small[@]}"
  train steering "${STEERING:-65}" teachers train steering "$expert" "${small[@]}"
)
wait "$vae"

teachers=()
for name in path_follower goal_directed steering masked_mimic; do
  teachers+=("agent.teacher_models.$name.checkpoint=[$root/$name]")
done
unified=(--opt distillation/tasks/unified_evaluation)

# student NAME PRESET GPU
student() {
  export CUDA_VISIBLE_DEVICES=$3
  train "$1" "${STUDENT:-330}" distill train "distillation/$2" "${teachers[@]}" "${small[@]}"
  evaluate "$1_evaluation" "$1" "${unified[@]}"
  evaluate "$1_pushed" "$1" "${unified[@]}" --push 240
}
(student student unified_lightweight 0) &
plain=$!
(student robust robust 1) &
robust=$!
(
  export CUDA_VISIBLE_DEVICES=1
  evaluate tracker_evaluation tracker
  evaluate masked_mimic_evaluation masked_mimic --opt masked_mimic/tasks/patterns
  for name in path_follower goal_directed steering; do evaluate "${name}_evaluation" "$name"; done
)
wait "$plain"
wait "$robust"
say "all done"
