//! The terminal itself: taken over, given back whatever happens, and its keys.

use std::io::{self, BufWriter, Stdout, stdout};
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, bounded};
use crossterm::cursor::Show;
use crossterm::event::{self, DisableBracketedPaste, EnableBracketedPaste, Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::backend::CrosstermBackend;
use ratatui::{Frame, Terminal};

use super::keys::Key;

/// Whether the terminal is taken over now.
static ACTIVE: AtomicBool = AtomicBool::new(false);
/// What threads in the background said when they panicked.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Keys that may be ahead of the screen.
const MAX_TYPED_AHEAD: usize = 64;

/// What a person does at the terminal.
pub enum Input {
    /// A key.
    Key(Key),
    /// The terminal has another size.
    Resized,
}

/// A terminal that has been taken over. It is given back when dropped.
pub struct Screen {
    /// It is not dropped: it would complain of a terminal that has vanished by writing to it, which is a panic.
    terminal: ManuallyDrop<Terminal<CrosstermBackend<BufWriter<Stdout>>>>,
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
        enter()?;
        let terminal = Terminal::new(CrosstermBackend::new(out)).inspect_err(|_| restore())?;
        Ok(Screen { terminal: ManuallyDrop::new(terminal) })
    }

    /// Gives the terminal back while something else goes on.
    ///
    /// # Errors
    /// When it is gone then.
    pub fn suspend(&mut self, meanwhile: fn()) -> io::Result<()> {
        restore();
        meanwhile();
        enter()?;
        self.clear()
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
        // `clear` would ask the terminal where its cursor is, whose answer the thread that reads keys has long since read.
        let size = self.terminal.size()?;
        self.terminal.resize(size.into())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

fn enter() -> io::Result<()> {
    enable_raw_mode()?;
    ACTIVE.store(true, Ordering::SeqCst);
    execute!(stdout(), EnterAlternateScreen, EnableBracketedPaste).inspect_err(|_| restore())
}

/// Gives the terminal back, if it is taken over: for whoever ends the process in another way.
pub fn restore() {
    if ACTIVE.swap(false, Ordering::SeqCst) {
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
            if current.id() != owner && ACTIVE.load(Ordering::SeqCst) {
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

/// What is typed, as it comes; it ends when the terminal is gone. It is read in a thread of its own: should the terminal
/// vanish, whoever reads from it may never come back.
///
/// # Errors
/// When no thread can be started.
pub fn inputs() -> io::Result<Receiver<Input>> {
    let (sender, inputs) = bounded(MAX_TYPED_AHEAD);
    thread::Builder::new().name("keys".into()).spawn(move || {
        while let Ok(event) = event::read() {
            if let Some(input) = input(event)
                && sender.send(input).is_err()
            {
                return;
            }
        }
    })?;
    Ok(inputs)
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
