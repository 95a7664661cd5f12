//! The runtime of the programs here: io_uring as a core of the proxy has it, else epoll.

use std::io;

use io_uring::IoUring;
use monoio::time::TimeDriver;
use monoio::{FusionRuntime, IoUringDriver, LegacyDriver, RuntimeBuilder};

pub(crate) fn build() -> io::Result<FusionRuntime<TimeDriver<IoUringDriver>, TimeDriver<LegacyDriver>>> {
    let mut flags = IoUring::builder();
    flags.setup_single_issuer().setup_defer_taskrun();
    match RuntimeBuilder::<IoUringDriver>::new().uring_builder(flags).enable_timer().build() {
        Ok(runtime) => Ok(runtime.into()),
        Err(_) => Ok(RuntimeBuilder::<LegacyDriver>::new().enable_timer().build()?.into()),
    }
}
