//! Who comes first when all cores are busy: the threads that answer, before those that compute.

use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

/// Of 0 to 99; on Linux a niceness of 10. A thread that has waited for a question comes before the workers, and yet
/// they keep a tenth of a core that an ordinary program wants for itself.
const PRIORITY: u8 = 22;

/// Puts the calling thread behind those that serve. An answer takes a fraction of a millisecond and then waits for the
/// next question, so that workers lose little; without this it would wait for the end of a worker's time slice.
pub fn behind_the_servers() {
    let Ok(priority) = ThreadPriorityValue::try_from(PRIORITY) else { return };
    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch);
    let placed = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Crossplatform(priority), policy);
    if let Err(error) = placed {
        tracing::debug!(?error, "workers are not put behind the threads that answer");
    }
}
