//! What is counted of participants' requests: for the last minutes, and since they came.
//!
//! Time is an argument. Whose figures are kept, and who is shown them, is the hub's business.

mod ended;
mod log_histogram;
mod recent;
mod totals;

pub use ended::{Ended, Ending};
pub use recent::{Recent, Sum};
pub use totals::{Histogram, Totals};
