//! The binary: hands the arguments to the command line.

fn main() {
    println!("gambi {}", env!("CARGO_PKG_VERSION"));
}
