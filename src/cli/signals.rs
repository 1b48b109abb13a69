//! SIGINT and SIGTERM: the first asks a long-running command to end in order, a second one ends it at once.

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
#[cfg(feature = "tui")]
use signal_hook::consts::{SIGHUP, SIGQUIT, SIGTSTP};
use signal_hook::consts::{SIGINT, SIGTERM, SIGWINCH};
use signal_hook::flag;
use signal_hook::iterator::Signals as Incoming;
use signal_hook::low_level::{emulate_default_handler, signal_name};

use super::failure::Failure;

/// A signal that asks to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal(i32);

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(signal_name(self.0).unwrap_or("a signal"))
    }
}

/// Stops this process until the shell continues it, as Ctrl-Z does.
#[cfg(feature = "tui")]
pub fn suspend() {
    let _ = emulate_default_handler(SIGTSTP);
}

#[derive(Default)]
struct State {
    /// Who wants to hear of the first signal. Without one it has its usual effect.
    listener: Option<Sender<Signal>>,
    /// What must be put right before the process dies.
    before_death: Option<fn()>,
    /// Takes more signals.
    #[cfg(feature = "tui")]
    incoming: Option<signal_hook::iterator::Handle>,
}

/// The process's signals. Copies mean the same.
#[derive(Clone, Default)]
pub struct Signals(Arc<Mutex<State>>);

impl Signals {
    /// Catches signals from now on.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn install() -> Result<Self, Failure> {
        let signals = Signals::default();
        let mut incoming = Incoming::new([SIGINT, SIGTERM])?;
        #[cfg(feature = "tui")]
        signals.lock().incoming.replace(incoming.handle());
        let state = signals.clone();
        thread::Builder::new().name("signals".into()).spawn(move || {
            for signal in incoming.forever() {
                state.arrived(signal);
            }
        })?;
        Ok(signals)
    }

    /// The first signal comes here from now on.
    pub fn listen(&self) -> Receiver<Signal> {
        let (sender, receiver) = bounded(1);
        self.lock().listener = Some(sender);
        receiver
    }

    /// What must be put right should a signal end the process.
    pub fn before_death(&self, action: Option<fn()>) {
        self.lock().before_death = action;
    }

    /// A flag that is up whenever the terminal may have another size than was known: at first, and after each change.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn resized(&self) -> Result<Arc<AtomicBool>, Failure> {
        let resized = Arc::new(AtomicBool::new(true));
        flag::register(SIGWINCH, resized.clone())?;
        Ok(resized)
    }

    /// Hears of what else may end a process that has a screen to put right.
    ///
    /// # Errors
    /// When the system refuses.
    #[cfg(feature = "tui")]
    pub fn catch_hangup(&self) -> Result<(), Failure> {
        if let Some(incoming) = &self.lock().incoming {
            incoming.add_signal(SIGHUP)?;
            incoming.add_signal(SIGQUIT)?;
        }
        Ok(())
    }

    fn arrived(&self, signal: i32) {
        let mut state = self.lock();
        if let Some(listener) = state.listener.take() {
            let _ = listener.send(Signal(signal));
            return;
        }
        if let Some(action) = state.before_death {
            action();
        }
        let _ = emulate_default_handler(signal);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
