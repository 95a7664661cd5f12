//! The io driver of a core: io_uring with the flags that make it fast, less where the kernel offers less, epoll
//! where io_uring is not allowed at all.

use std::io;

use io_uring::IoUring;
use monoio::time::TimeDriver;
use monoio::{FusionRuntime, IoUringDriver, LegacyDriver, RuntimeBuilder};
use nix::libc::{EINVAL, ENOMEM};

use crate::bounds::RING_ENTRIES;

/// A core's runtime. To be built and used on the core's own thread: the ring accepts work from no other.
pub(crate) type CoreRuntime = FusionRuntime<TimeDriver<IoUringDriver>, TimeDriver<LegacyDriver>>;

/// Which of the kernel's interfaces a core uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Driver {
    /// One submitter, completions run when the core asks for them (Linux 6.1).
    UringDeferred,
    /// Completions run when the core enters the kernel anyway (Linux 5.19).
    UringCooperative,
    /// No flags.
    UringPlain,
    /// io_uring is missing or forbidden.
    Epoll,
}

impl Driver {
    /// As it is named to users.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::UringDeferred => "io_uring",
            Self::UringCooperative => "io_uring (without deferred completions: kernel older than 6.1)",
            Self::UringPlain => "io_uring (without cooperative completions: kernel older than 5.19)",
            Self::Epoll => "epoll (io_uring is missing or forbidden here)",
        }
    }
}

/// The drivers to try, best first.
const BY_PREFERENCE: [Driver; 3] = [Driver::UringDeferred, Driver::UringCooperative, Driver::UringPlain];

/// The best runtime this kernel allows.
///
/// # Errors
/// Not even epoll is to be had.
pub(crate) fn build() -> io::Result<(CoreRuntime, Driver)> {
    for driver in BY_PREFERENCE {
        for entries in RING_ENTRIES {
            match build_ring(driver, entries) {
                Ok(runtime) => return Ok((runtime, driver)),
                // Locked memory is short: a smaller ring may fit.
                Err(error) if error.raw_os_error() == Some(ENOMEM) => {}
                // The kernel does not know the flags: the next driver has fewer.
                Err(error) if error.raw_os_error() == Some(EINVAL) => break,
                Err(_) => return build_epoll(),
            }
        }
    }
    build_epoll()
}

fn flags(driver: Driver) -> io_uring::Builder {
    let mut flags = IoUring::builder();
    match driver {
        Driver::UringDeferred => drop(flags.setup_single_issuer().setup_defer_taskrun()),
        Driver::UringCooperative => drop(flags.setup_coop_taskrun()),
        Driver::UringPlain | Driver::Epoll => {}
    }
    flags
}

fn build_ring(driver: Driver, entries: u32) -> io::Result<CoreRuntime> {
    let builder = RuntimeBuilder::<IoUringDriver>::new().with_entries(entries).uring_builder(flags(driver));
    Ok(builder.enable_timer().build()?.into())
}

fn build_epoll() -> io::Result<(CoreRuntime, Driver)> {
    let runtime = RuntimeBuilder::<LegacyDriver>::new().enable_timer().build()?;
    Ok((runtime.into(), Driver::Epoll))
}

/// The driver that cores would use here, found out by building a small ring.
pub(crate) fn probe() -> Driver {
    for driver in BY_PREFERENCE {
        match flags(driver).build(8) {
            Ok(_) => return driver,
            Err(error) if error.raw_os_error() == Some(EINVAL) => {}
            Err(_) => return Driver::Epoll,
        }
    }
    Driver::Epoll
}
