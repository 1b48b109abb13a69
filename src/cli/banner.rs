//! What a person reads when a hub has started: its address, how to make a room, how to join, and who may use it.

use gambi::hub::HubOptions;

use super::context::Context;
use super::output::pairs;
use super::style;
use super::urls::Urls;

/// What the lines depend on, beside the addresses.
pub struct Banner {
    dashboard: bool,
    /// The code of a room that the hub starts with.
    room: Option<String>,
    access: Access,
}

/// Who may use the hub.
enum Access {
    /// All who reach it.
    Open,
    /// Who has the key, which is in a file unless a variable has it.
    Key(Option<String>),
    /// Who has a key of this file, beside the hub's own key.
    Keys(String),
}

impl Banner {
    /// What the options say.
    pub fn of(context: &Context<'_>, options: &HubOptions) -> Self {
        let keys = context.value("keys").filter(|_| options.keys.is_some());
        let access = match (keys, &options.key) {
            (Some(file), _) => Access::Keys(file.to_owned()),
            (None, Some(_)) => Access::Key(context.value("key-file").map(str::to_owned)),
            (None, None) => Access::Open,
        };
        let room = options.rooms.first().map(|room| room.code.to_ascii_uppercase());
        Banner { dashboard: options.dashboard, room, access }
    }

    /// The lines. `fingerprint` is that of a certificate which clients do not accept without it.
    pub fn text(&self, urls: &Urls, fingerprint: Option<&str>) -> String {
        let (paint, hub) = (style::out(), urls.for_others());
        let here = urls.network.as_ref().map(|_| paint.dim(&format!("   on this machine: {}", urls.hub)));
        let key = if matches!(self.access, Access::Open) { "" } else { " --key-file FILE" };
        let room = self.room.as_deref().unwrap_or("CODE");
        let mut lines = vec![
            (
                if self.dashboard { "Dashboard:" } else { "Hub:" },
                format!("{}{}", paint.bold(&paint.cyan(hub)), here.unwrap_or_default()),
            ),
            ("New room:", paint.cyan(&format!("gambi room create --hub {hub} --name NAME{key}"))),
            ("Join it:", paint.cyan(&format!("gambi join --hub {hub} -r {room}{key}"))),
            ("Access:", self.access(urls.are_local())),
        ];
        if let Some(fingerprint) = fingerprint {
            let first = paint.cyan(&format!("export GAMBI_HUB_FINGERPRINT={fingerprint}"));
            lines.insert(1, ("Trust it:", format!("{first}   first, on each machine")));
        }
        pairs(&lines)
    }

    fn access(&self, is_local: bool) -> String {
        let paint = style::out();
        match &self.access {
            Access::Key(Some(file)) => format!("{} to all without the key in {file}", paint.green("closed")),
            Access::Key(None) => format!("{} to all without the key in GAMBI_HUB_KEY", paint.green("closed")),
            Access::Keys(file) => {
                format!("{} to all without a key in {file}; `gambi key new NAME` makes another", paint.green("closed"))
            }
            Access::Open if is_local => format!("{}, for programs on this machine only", paint.green("open")),
            Access::Open => {
                format!(
                    "{} who reach it; close it with --key-file FILE or --host 127.0.0.1",
                    paint.yellow("open to all")
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(access: Access, address: &str, fingerprint: Option<&str>) -> Vec<String> {
        let urls = Urls {
            bind: address.to_owned(),
            hub: "http://localhost:3000".into(),
            network: (address != "http://localhost:3000").then(|| address.to_owned()),
        };
        let banner = Banner { dashboard: true, room: None, access };
        banner.text(&urls, fingerprint).lines().map(str::to_owned).collect()
    }

    #[test]
    fn an_open_hub_says_in_four_lines_where_it_is_how_to_use_it_and_how_to_close_it() {
        let said = lines(Access::Open, "http://10.0.0.5:3000", None);
        assert_eq!(
            said,
            [
                "Dashboard:  http://10.0.0.5:3000   on this machine: http://localhost:3000",
                "New room:   gambi room create --hub http://10.0.0.5:3000 --name NAME",
                "Join it:    gambi join --hub http://10.0.0.5:3000 -r CODE",
                "Access:     open to all who reach it; close it with --key-file FILE or --host 127.0.0.1",
            ]
        );
        let local = lines(Access::Open, "http://localhost:3000", None);
        assert!(local[3].ends_with("open, for programs on this machine only"), "{local:?}");
    }

    #[test]
    fn a_hub_with_keys_shows_the_flag_and_does_not_call_itself_open() {
        for access in [Access::Key(Some("hub.key".into())), Access::Keys("keys.json".into())] {
            let said = lines(access, "http://10.0.0.5:3000", None);
            assert!(said[1].ends_with("--key-file FILE") && said[2].ends_with("--key-file FILE"), "{said:?}");
            assert!(said[3].contains("closed to all without") && said.len() == 4, "{said:?}");
        }
    }

    #[test]
    fn a_certificate_of_its_own_comes_with_its_fingerprint() {
        let said = lines(Access::Open, "https://10.0.0.5:3000", Some("sha256:ab"));
        assert_eq!(said[1], "Trust it:   export GAMBI_HUB_FINGERPRINT=sha256:ab   first, on each machine");
    }
}
