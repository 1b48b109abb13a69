//! Statistics of participants' requests: of the last fifteen minutes ([`Recent`], for a room's figures) and since the
//! participant registered ([`Totals`], for Prometheus). Both are fed with [`Ended`].
//!
//! Time is an argument. Which participants have statistics, and who may read them, is decided in the hub.

mod course;
mod ended;
mod histogram;
mod log_histogram;
mod recent;
mod totals;

pub use course::Course;
pub use ended::{Ended, Ending};
pub use histogram::Histogram;
pub use recent::{Recent, WindowSums};
pub use totals::Totals;
