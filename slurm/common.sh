# shellcheck shell=bash
# Sourced by the job scripts beside it, which set max_restarts. It offers
#   set_run_dir DEFAULT ARGUMENT...   sets run_dir, where the fit is kept
#   run_step COMMAND...               runs a job step, and starts the job again where that helps
#
# How the step ended              What happens to the job
# 0    done                       it ends
# 75   a signal came, and saved   it goes back to the queue, and continues from what was saved
# 1    failed, 2 bad config       it ends as failed: it would fail again
# 130  stopped by Ctrl-C, unsaved it ends as failed
# 69   a process was lost or hung it goes back to the queue if it saved something since it was
# other codes above 128: killed   started: without progress, it would be lost again; or if the
#      by signal (code - 128)     signal was one that asks it to stop (it was not listening yet)
#
# In all of these, a job that was cancelled with scancel ends, and so does one that was restarted
# max_restarts times. When a node fails, or the time to save at a preemption is over (there may be
# none), SLURM kills this script too and restarts the job on its own, because of --requeue.

# An array calls its jobs by the id of the array and that of the task.
job_id=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
job_id=${job_id:-$SLURM_JOB_ID}
restarts=${SLURM_RESTART_COUNT:-0}

say() { echo "$(date '+%F %T') job $job_id: $*" >&2; }

# set_run_dir DEFAULT ARGUMENT...: set run_dir to what run_dir=... among the arguments says.
set_run_dir() {
    local argument
    run_dir=$1
    for argument in "${@:2}"; do
        if [[ $argument == run_dir=* ]]; then run_dir=${argument#run_dir=}; fi
    done
}

# run_step COMMAND...: run it (srun ...), and exit with its code.
run_step() {
    if ((restarts > max_restarts)); then
        say "restarted $restarts times, more than max_restarts=$max_restarts: not again"
        exit 1
    fi
    local code=0 before saved_step step
    before=$(saved)
    saved_step=$(newest_checkpoint)
    say "start $((restarts + 1)) on $SLURM_JOB_NODELIST in $run_dir${saved_step:+, step $saved_step}"
    # In the background, because a shell hears a signal only while it waits. What is meant for the
    # batch shell (--signal=B:...) is handed on to the step; srun forwards USR1 to every rank, but
    # would end the step by force at TERM.
    "$@" &
    step=$!
    trap 'say "signal: the step saves and stops"; kill -USR1 "$step" 2>/dev/null || true' USR1 TERM
    # A signal ends a wait, not the step.
    while kill -0 "$step" 2>/dev/null; do wait "$step" || true; done
    wait "$step" || code=$?
    trap '' USR1 TERM
    say "the step ended with code $code"
    if worth_a_restart "$code" "$before"; then restart; fi
    exit "$code"
}

newest_checkpoint() {
    find "$run_dir/checkpoints" -mindepth 1 -maxdepth 1 -name '[0-9]*' -printf '%f\n' 2>/dev/null |
        grep -x '[0-9]*' | sort -n | tail -n 1 || true
}

# saved: a text that changes whenever the run has saved what a later start goes on from: a
# checkpoint, a step of the finish, a short fit, a repeat of a coverage, draws of a chain.
saved() {
    newest_checkpoint
    find "$run_dir/checkpoints/finish.json" "$run_dir/phases" "$run_dir/posterior" \
        -type f -not -name '.*' -printf '%p %T@\n' 2>/dev/null | sort | cksum || true
}

# worth_a_restart CODE SAVED: whether a step that ended with this code, and found this saved when it
# started, would get further by another start.
worth_a_restart() {
    local stopped=75 usr1=138 term=143 interrupted=130 lost=69
    case $1 in
        "$stopped" | "$usr1" | "$term") ;;
        "$interrupted") return 1 ;;
        *) (($1 == lost || $1 > 128)) && [[ $(saved) != "$2" ]] ;;
    esac
}

restart() {
    local job
    job=$(scontrol show job "$job_id")
    # Preempted jobs run on until they end. Those that SLURM is ending by now have either used up
    # their time, or were cancelled: scontrol requeue would bring these back to life.
    if ! [[ $job == *JobState=RUNNING* || $job == *Reason=TimeLimit* ]]; then
        say "cancelled: not started again"
    elif ((restarts >= max_restarts)); then
        say "restarted $restarts times, max_restarts=$max_restarts: not started again"
    else
        say "back to the queue: restart $((restarts + 1)) of at most $max_restarts"
        scontrol requeue "$job_id"
    fi
}
