//! The build script: packs the texts that the binary carries into `OUT_DIR`, from where `include_bytes!` takes them. All are
//! compressed with gzip; the dashboard and the description of the API lose comments, blank lines and indentation first.

use std::error::Error;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use flate2::{Compression, GzBuilder};

const STYLES: &[&str] = &["style", "chat", "activity"];
/// Together one JavaScript module: they share one scope.
const SCRIPTS: &[&str] = &[
    "dom",
    "theme",
    "api",
    "live",
    "rooms",
    "participants",
    "charts",
    "timeline",
    "queue",
    "events",
    "kept",
    "markdown",
    "history",
    "talk",
    "chat",
    "inspector",
    "invite",
    "snippets",
    "main",
];

fn main() -> Result<(), Box<dyn Error>> {
    for source in ["src/web", "src/manual", "src/proto/PROTOCOL.md", "src/hub/api/openapi.json"] {
        println!("cargo::rerun-if-changed={source}");
    }
    let out = std::env::var_os("OUT_DIR").ok_or("the build script runs without Cargo, which sets OUT_DIR")?;
    let out = Path::new(&out);
    let web = |names: &[&str], ending: &str| -> Result<String, Box<dyn Error>> {
        names.iter().map(|name| minify(&format!("src/web/{name}.{ending}"))).collect()
    };
    pack(out, "dashboard.html", &web(&["index"], "html")?)?;
    pack(out, "dashboard.css", &web(STYLES, "css")?)?;
    pack(out, "dashboard.js", &web(SCRIPTS, "js")?)?;
    pack(out, "openapi.json", &minify("src/hub/api/openapi.json")?)?;
    pack(out, "protocol.md", &read("src/proto/PROTOCOL.md")?)?;
    for page in fs::read_dir("src/manual")? {
        let name = page?.file_name();
        if let Some(name) = name.to_str().filter(|name| name.ends_with(".md") && !name.starts_with('.')) {
            pack(out, name, &read(&format!("src/manual/{name}"))?)?;
        }
    }
    Ok(())
}

fn read(path: &str) -> Result<String, Box<dyn Error>> {
    fs::read_to_string(path).map_err(|error| format!("{path} cannot be read: {error}").into())
}

/// A file without lines that begin with a comment, blank lines and indentation. It is not parsed, so comments and strings must end
/// in the line in which they begin.
fn minify(path: &str) -> Result<String, Box<dyn Error>> {
    let text = read(path)?;
    let has_comments = path.ends_with(".css") || path.ends_with(".js");
    if let Some(line) = text.lines().find(|line| has_comments && line.contains("/*") && !line.ends_with("*/")) {
        return Err(format!("{path}: a comment of several lines cannot be dropped: {line}").into());
    }
    let lines = text.split_inclusive('\n').map(|line| line.trim_start_matches(' '));
    Ok(lines.filter(|line| !line.trim().is_empty() && !line.starts_with("//") && !line.starts_with("/*")).collect())
}

/// Without a time and a name, so that the same text is always the same bytes.
fn pack(out: &Path, name: &str, text: &str) -> Result<(), Box<dyn Error>> {
    let mut file = GzBuilder::new().write(File::create(out.join(format!("{name}.gz")))?, Compression::best());
    file.write_all(text.as_bytes())?;
    file.finish()?;
    Ok(())
}
