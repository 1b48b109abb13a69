//! The terminal itself: taken over, given back whatever happens, and its keys.

use std::io::{self, BufWriter, Stdout, stdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use crossterm::cursor::Show;
use crossterm::event::{self, DisableBracketedPaste, EnableBracketedPaste, Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::backend::CrosstermBackend;
use ratatui::{Frame, Terminal};

use super::keys::Key;

/// Input that may wait, and how long its reader waits before it looks up.
const KEYS: usize = 256;
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Whether the terminal is taken over now.
static TAKEN: AtomicBool = AtomicBool::new(false);
/// What threads in the background said when they panicked.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// What a person does at the terminal.
pub enum Input {
    /// A key.
    Key(Key),
    /// The terminal has another size.
    Resized,
}

/// A terminal that has been taken over. It is given back when dropped.
pub struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
}

impl Screen {
    /// Takes the terminal over. From then on a panic in this thread gives it back; one in another thread is kept for
    /// [`panics`], and does not write over the screen.
    ///
    /// # Errors
    /// When it is no terminal, or is gone.
    pub fn open() -> io::Result<Self> {
        catch_panics();
        let out = BufWriter::with_capacity(64 << 10, stdout());
        take_over()?;
        Terminal::new(CrosstermBackend::new(out)).map(|terminal| Screen { terminal }).inspect_err(|_| restore())
    }

    /// Gives the terminal back while something else goes on.
    ///
    /// # Errors
    /// When it is gone then.
    pub fn lend(&mut self, meanwhile: fn()) -> io::Result<()> {
        restore();
        meanwhile();
        take_over()?;
        self.terminal.clear()
    }

    /// Draws what has changed.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(draw).map(drop)
    }

    /// Draws everything anew next time.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn clear(&mut self) -> io::Result<()> {
        self.terminal.clear()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

fn take_over() -> io::Result<()> {
    enable_raw_mode()?;
    TAKEN.store(true, Ordering::SeqCst);
    execute!(stdout(), EnterAlternateScreen, EnableBracketedPaste).inspect_err(|_| restore())
}

/// Gives the terminal back, if it is taken over: for whoever ends the process in another way.
pub fn restore() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // There is nobody to tell if the terminal is gone.
        let _ = execute!(stdout(), DisableBracketedPaste, LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

fn catch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let owner = thread::current().id();
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let current = thread::current();
            if current.id() != owner && TAKEN.load(Ordering::SeqCst) {
                let text = format!("a thread has failed ({}): {info}", current.name().unwrap_or("unnamed"));
                return PANICS.lock().unwrap_or_else(PoisonError::into_inner).push(text);
            }
            restore();
            usual(info);
        }));
    });
}

/// What threads in the background said when they panicked, since it was last asked for.
pub fn panics() -> Vec<String> {
    std::mem::take(&mut *PANICS.lock().unwrap_or_else(PoisonError::into_inner))
}

/// What is done at the terminal from now on; the channel ends when the terminal is gone.
///
/// A thread of its own reads it: for a terminal that has vanished, crossterm asks again and again and does not come back.
///
/// # Errors
/// When there is no thread to be had.
pub fn inputs() -> io::Result<Receiver<Input>> {
    let (sender, receiver) = bounded(KEYS);
    thread::Builder::new().name("keys".into()).spawn(move || {
        // Waiting for ever, it would keep others from the terminal.
        while let Ok(there) = event::poll(LOOK_EVERY) {
            let Ok(event) = (if there { event::read() } else { continue }) else { return };
            if input(event).is_some_and(|input| sender.send(input).is_err()) {
                return;
            }
        }
    })?;
    Ok(receiver)
}

fn input(event: Event) -> Option<Input> {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => self::key(key.code, key.modifiers).map(Input::Key),
        Event::Paste(text) => Some(Input::Key(Key::Paste(text))),
        Event::Resize(..) => Some(Input::Resized),
        _ => None,
    }
}

fn key(code: KeyCode, modifiers: KeyModifiers) -> Option<Key> {
    Some(match code {
        KeyCode::Char(c) if modifiers.contains(KeyModifiers::CONTROL) => Key::Ctrl(c.to_ascii_lowercase()),
        KeyCode::Char(_) if modifiers.contains(KeyModifiers::ALT) => return None,
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Esc,
        KeyCode::Tab => Key::Tab,
        KeyCode::BackTab => Key::BackTab,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Delete => Key::Delete,
        _ => return None,
    })
}
