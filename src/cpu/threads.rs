//! The threads that the CPU path computes with: a pool of its own, whatever else the process does with rayon's.

use std::{env, sync::LazyLock, thread};

use rayon::{ThreadPool, ThreadPoolBuilder};

/// The variable that says how many threads there are; candle's products ask it, too. To be set before the first of them.
pub const VARIABLE: &str = "RAYON_NUM_THREADS";

static POOL: LazyLock<Option<ThreadPool>> = LazyLock::new(|| {
    let name = |number| format!("mustdrop-{number}");
    ThreadPoolBuilder::new().num_threads(count()).thread_name(name).build().ok()
});

/// How many threads compute: what [`VARIABLE`] says when this is asked first, else one for each physical core that the
/// process may use.
pub fn count() -> usize {
    static COUNT: LazyLock<usize> = LazyLock::new(|| {
        let asked = env::var(VARIABLE).ok().and_then(|text| text.parse().ok()).filter(|count| *count > 0);
        asked.unwrap_or_else(|| {
            let allowed = thread::available_parallelism().map_or(1, usize::from);
            num_cpus::get_physical().clamp(1, allowed)
        })
    });
    *COUNT
}

/// Runs `work`, whose parallel iterators are then this pool's; where no threads can be had, rayon's own.
pub fn together<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    match &*POOL {
        Some(pool) => pool.install(work),
        None => work(),
    }
}
