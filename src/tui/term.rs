//! The terminal: raw mode and the alternate screen, restored however the program ends, and key input.

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

/// Whether the terminal is in raw mode now.
static ACTIVE: AtomicBool = AtomicBool::new(false);
/// Messages of panics on background threads.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Capacity of the input channel, in keys.
const MAX_TYPED_AHEAD: usize = 64;

/// Terminal input.
pub enum Input {
    /// A key.
    Key(Key),
    /// The terminal was resized.
    Resized,
}

/// A terminal in raw mode. It is restored on drop.
pub struct Screen {
    /// Never dropped: ratatui's destructor writes to the terminal and panics if that has vanished.
    terminal: ManuallyDrop<Terminal<CrosstermBackend<BufWriter<Stdout>>>>,
}

impl Screen {
    /// Puts the terminal into raw mode. From then on a panic on this thread restores it; a panic on another thread is
    /// collected for [`panics`] instead of being written over the screen.
    ///
    /// # Errors
    /// When stdout is not a terminal, or is gone.
    pub fn open() -> io::Result<Self> {
        catch_panics();
        let out = BufWriter::with_capacity(64 << 10, stdout());
        enter()?;
        let terminal = Terminal::new(CrosstermBackend::new(out)).inspect_err(|_| restore())?;
        Ok(Screen { terminal: ManuallyDrop::new(terminal) })
    }

    /// Restores the terminal, runs `meanwhile`, and takes it back.
    ///
    /// # Errors
    /// When the terminal is gone by then.
    pub fn suspend(&mut self, meanwhile: fn()) -> io::Result<()> {
        restore();
        meanwhile();
        enter()?;
        self.clear()
    }

    /// Draws a frame; only changed cells are written.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(draw).map(drop)
    }

    /// Makes the next frame write every cell.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn clear(&mut self) -> io::Result<()> {
        // ratatui's `clear` asks the terminal for the cursor position, and the input thread would swallow the reply.
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

/// Restores the terminal if it is in raw mode. For exits that skip [`Screen`]'s destructor.
pub fn restore() {
    if ACTIVE.swap(false, Ordering::SeqCst) {
        // If the terminal is gone, nothing can be reported.
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

/// Takes the messages of panics on background threads.
pub fn panics() -> Vec<String> {
    std::mem::take(&mut *PANICS.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Reads input on a thread of its own; the channel closes when the terminal is gone. A separate thread, because a read
/// from a vanished terminal may never return.
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
