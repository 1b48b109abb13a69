//! Talking to a room, as far as `gambi chat` and the monitor's chat pane share it: who answers, and what the events of an
//! answer mean. Pure; what is shown where is up to them.

pub mod answer;
pub mod selection;
pub mod thinking;
