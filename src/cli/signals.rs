//! SIGINT and SIGTERM: the first requests an orderly end, a second one ends the process at once.

use std::fmt;
use std::fs::File;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGWINCH};
#[cfg(feature = "tui")]
use signal_hook::consts::{SIGQUIT, SIGTSTP};
use signal_hook::flag;
use signal_hook::iterator::Signals as Incoming;
use signal_hook::low_level::{emulate_default_handler, signal_name};

use super::failure::Failure;

/// A signal that requests the end of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal(i32);

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(signal_name(self.0).unwrap_or("a signal"))
    }
}

/// Suspends this process until the shell continues it, as Ctrl-Z does.
#[cfg(feature = "tui")]
pub fn suspend() {
    let _ = emulate_default_handler(SIGTSTP);
}

#[derive(Default)]
struct SignalState {
    /// Receives the first signal. Without it, a signal has its default effect.
    listener: Option<Sender<Signal>>,
    /// Cleanup to run before a signal ends the process.
    cleanup: Option<fn()>,
    /// What SIGINT does in place of ending the process.
    on_interrupt: Option<Box<dyn Fn() + Send>>,
    /// What SIGHUP does in place of ending the process.
    on_hangup: Vec<Box<dyn Fn() + Send>>,
    /// Whether the process was started in a terminal.
    had_terminal: bool,
    /// Registers further signals.
    incoming: Option<signal_hook::iterator::Handle>,
}

/// Whether the process has a terminal that controls it.
fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

/// The process's signal handling. Clones share their state.
#[derive(Clone, Default)]
pub struct Signals(Arc<Mutex<SignalState>>);

impl Signals {
    /// Installs the handlers and starts the thread that dispatches signals.
    ///
    /// # Errors
    /// When the handlers or the thread can't be installed.
    pub fn install() -> Result<Self, Failure> {
        let signals = Signals::default();
        let mut incoming = Incoming::new([SIGINT, SIGTERM])?;
        signals.lock().incoming.replace(incoming.handle());
        let state = signals.clone();
        thread::Builder::new().name("signals".into()).spawn(move || {
            for signal in incoming.forever() {
                state.on_signal(signal);
            }
        })?;
        Ok(signals)
    }

    /// Makes the next signal arrive on the returned channel instead of ending the process.
    pub fn listen(&self) -> Receiver<Signal> {
        let (sender, receiver) = bounded(1);
        self.lock().listener = Some(sender);
        receiver
    }

    /// Sets or clears the cleanup to run if a signal ends the process.
    pub fn set_cleanup(&self, action: Option<fn()>) {
        self.lock().cleanup = action;
    }

    /// Makes SIGINT run an action, which must not use this, instead of ending the process; or end it again. Returns what it
    /// did before.
    pub fn set_on_interrupt(&self, action: Option<Box<dyn Fn() + Send>>) -> Option<Box<dyn Fn() + Send>> {
        std::mem::replace(&mut self.lock().on_interrupt, action)
    }

    /// A flag that is set whenever the terminal's size may have changed, and initially.
    ///
    /// # Errors
    /// When the handler can't be installed.
    pub fn resized(&self) -> Result<Arc<AtomicBool>, Failure> {
        let resized = Arc::new(AtomicBool::new(true));
        flag::register(SIGWINCH, resized.clone())?;
        Ok(resized)
    }

    /// Also handles SIGHUP and SIGQUIT, for a process that has a screen to restore.
    ///
    /// # Errors
    /// When the handlers can't be installed.
    #[cfg(feature = "tui")]
    pub fn catch_hangup(&self) -> Result<(), Failure> {
        if let Some(incoming) = &self.lock().incoming {
            incoming.add_signal(SIGHUP)?;
            incoming.add_signal(SIGQUIT)?;
        }
        Ok(())
    }

    /// Makes SIGHUP run an action, after those given before, as long as the terminal that the process was started in is there, if
    /// it was started in one. If that terminal closes, SIGHUP ends the process as SIGTERM does.
    ///
    /// # Errors
    /// When the handler can't be installed.
    pub fn on_hangup(&self, action: impl Fn() + Send + 'static) -> Result<(), Failure> {
        let had_terminal = has_terminal();
        let mut state = self.lock();
        if let Some(incoming) = &state.incoming {
            incoming.add_signal(SIGHUP)?;
        }
        state.on_hangup.push(Box::new(action));
        state.had_terminal = had_terminal;
        Ok(())
    }

    fn on_signal(&self, signal: i32) {
        let mut state = self.lock();
        if signal == SIGHUP && !state.on_hangup.is_empty() && (!state.had_terminal || has_terminal()) {
            state.on_hangup.iter().for_each(|action| action());
            return;
        }
        if let Some(action) = state.on_interrupt.as_ref().filter(|_| signal == SIGINT) {
            return action();
        }
        if let Some(listener) = state.listener.take() {
            let _ = listener.send(Signal(signal));
            return;
        }
        if let Some(action) = state.cleanup {
            action();
        }
        let _ = emulate_default_handler(signal);
    }

    fn lock(&self) -> MutexGuard<'_, SignalState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
