#!/bin/bash
# Runs a sweep as a Slurm array of eight tasks on a Slurm of one node, kills one task with -9 and requeues it, and compares the table
# with that of a single process, byte for byte. Machines without Slurm skip it (Debian: apt-get install slurmctld slurmd slurm-client munge).
#   tests/slurm.sh [TRELLIS]     (as root, as Slurm's daemons start jobs as other users)
set -euo pipefail
cd "$(dirname "$0")/.."
for program in slurmctld slurmd sbatch scontrol munged; do
  command -v "$program" > /dev/null || { echo "skipped: $program is not installed"; exit 0; }
done
[ "$(id -u)" = 0 ] || { echo "skipped: this starts Slurm's daemons, which needs root"; exit 0; }
trellis=${1:-}
if [ -z "$trellis" ]; then
  cargo build --release -p trellis
  trellis=${CARGO_TARGET_DIR:-target}/release/trellis
fi
trellis=$(realpath "$trellis")
place=$(mktemp -d)
chmod 755 "$place"
own_munge=
cleanup() {
  [ -f "$place/slurmctld.pid" ] && kill "$(cat "$place/slurmctld.pid")" 2> /dev/null || true
  [ -f "$place/slurmd.pid" ] && kill "$(cat "$place/slurmd.pid")" 2> /dev/null || true
  [ -n "$own_munge" ] && pkill -x munged || true
  sleep 1
  rm -rf "$place"
}
trap cleanup EXIT

# A Slurm of one node, on loopback.
if ! munge -n 2> /dev/null | unmunge > /dev/null 2>&1; then
  mkdir -p /run/munge && chown munge: /run/munge
  runuser -u munge -- /usr/sbin/munged
  own_munge=1
fi
host=$(hostname -s)
cat > "$place/slurm.conf" << CONF
ClusterName=trellis
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
StateSaveLocation=$place/state
SlurmdSpoolDir=$place/spool
SlurmctldPidFile=$place/slurmctld.pid
SlurmdPidFile=$place/slurmd.pid
SlurmctldLogFile=$place/slurmctld.log
SlurmdLogFile=$place/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
JobRequeue=1
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF=$place/slurm.conf
mkdir -p "$place/state" "$place/spool"
slurmctld
slurmd
for _ in $(seq 30); do sinfo -h -o %T 2> /dev/null | grep -qE 'idle|mixed' && break; sleep 1; done
sinfo

# Eight combinations, a task each.
cat > "$place/small.toml" << TOML
name = "small"
seeds = [1]
arms = ["alone", "untrained"]
[data]
train = 64
validation = 16
test = 32
[target]
depth = 2
width = 16
[training]
steps = 1500
batch = 16
eval_every = 250
[guide]
channels = [4]
strides = [2]
steps = 0
TOML
sweep="sweep $place/small.toml -m training.optimizer=sgd,adam -m training.learning_rate=0.001,0.003,0.01,0.03"
export LP_NUM_THREADS=0 TRELLIS_TUNING=off
cat > "$place/sweep.sh" << JOB
#!/bin/bash
#SBATCH --array=0-7
#SBATCH --requeue
#SBATCH --output=$place/task-%a.log
#SBATCH --open-mode=append
exec $trellis $sweep --out $place/array
JOB
job=$(sbatch --parsable "$place/sweep.sh")
echo "array $job"

# Kills task 3 once it has taken some steps, and requeues it.
metrics=$place/array/small-sweep/training.optimizer-sgd__training.learning_rate-0.03/metrics.jsonl
for _ in $(seq 600); do [ -f "$metrics" ] && [ "$(grep -c '"step"' "$metrics")" -gt 300 ] && break; sleep 0.1; done
for process in $(pgrep -f "$place/array"); do
  if tr '\0' '\n' < "/proc/$process/environ" 2> /dev/null | grep -qx 'SLURM_ARRAY_TASK_ID=3'; then
    kill -9 "$process" && echo "killed task 3 at $(grep -c '"kind":"step"' "$metrics") of 3000 steps" && killed=1
  fi
done
[ -n "${killed:-}" ] || { echo "task 3 was not found"; exit 1; }
for _ in $(seq 60); do squeue -h -j "${job}_3" -o %T 2> /dev/null | grep -q RUNNING || break; sleep 0.5; done
scontrol requeue "${job}_3"
for _ in $(seq 600); do [ -z "$(squeue -h -j "$job" -o %T 2> /dev/null)" ] && break; sleep 1; done
[ -z "$(squeue -h -j "$job" -o %T 2> /dev/null)" ] || { squeue; echo "the array did not end"; exit 1; }
grep -q '"kind":"start"' "$metrics"
[ "$(grep -c '"kind":"start"' "$metrics")" -gt 2 ] || { echo "task 3 did not go on"; cat "$place/task-3.log"; exit 1; }

# The same by one process.
"$trellis" $sweep --out "$place/whole" > /dev/null
"$trellis" $sweep --out "$place/array" > /dev/null
cmp "$place/array/small-sweep/sweep.csv" "$place/whole/small-sweep/sweep.csv"
for run in array whole; do "$trellis" report "$place/$run" --out "$place/$run.html" > /dev/null; done
for table in results differences settings; do cmp "$place/array-$table.csv" "$place/whole-$table.csv"; done
for folder in "$place/whole/small-sweep"/*/; do
  for weights in "$folder"*.safetensors; do
    case $weights in *.state.safetensors) continue ;; esac
    cmp "$weights" "$place/array/small-sweep/$(basename "$folder")/$(basename "$weights")"
  done
done
echo "the tables and the report of the array are those of one process, and so are all weights"
