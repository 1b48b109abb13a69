//! Checks that a panic restores the terminal. A second process of this test binary panics inside tmux.

use std::thread;
use std::time::{Duration, Instant};

use super::term::{Screen, panics};

#[allow(dead_code)] // The test uses only a part of the terminal module.
#[path = "../../tests/support/terminal.rs"]
mod terminal;

use terminal::Terminal;

fn wait_for<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
#[ignore = "needs a terminal of its own: the test below runs it in one"]
fn panics_while_the_terminal_is_in_raw_mode() {
    let mut screen = Screen::open().expect("a terminal");
    screen.draw(|frame| frame.render_widget("taken over", frame.area())).unwrap();
    // A panic on another thread is collected, and the screen stays.
    thread::Builder::new().name("elsewhere".into()).spawn(|| panic!("not here")).unwrap().join().unwrap_err();
    let caught = panics();
    assert!(caught.len() == 1 && caught[0].contains("elsewhere") && caught[0].contains("not here"), "{caught:?}");
    panic!("on purpose");
}

#[test]
fn a_panic_restores_the_terminal() {
    let Some(terminal) = Terminal::open(80, 24, &[("RUST_BACKTRACE", "0")]) else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "skipped, which CI does not allow: tmux");
        return eprintln!("SKIPPED: tmux");
    };
    let settings = |terminal: &Terminal| {
        terminal.line("clear; stty -g");
        let screen = terminal.wait_until("its settings", |s| s.lines().next().is_some_and(|line| line.contains(':')));
        screen.lines().next().unwrap_or_default().to_owned()
    };
    let before = settings(&terminal);
    let this = std::env::current_exe().expect("this program");
    let test = "tui::term_tests::panics_while_the_terminal_is_in_raw_mode";
    terminal.line(&format!("clear; {} --exact {test} --ignored --nocapture; echo ended with $?", this.display()));
    let screen = terminal.wait("ended with 101");
    assert!(
        screen.contains("on purpose") && !screen.contains("taken over") && !screen.contains("not here"),
        "{screen}"
    );
    assert!(!terminal.is_alternate());
    assert_eq!(settings(&terminal), before);
}
