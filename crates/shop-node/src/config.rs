//! Settings: the commented defaults, overlaid by `node.toml` in the data directory, by the
//! environment, and by flags.

use counterfoil_domain::closure::DayRule;
use counterfoil_replica::{WalLimit, WalLimits};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::ffi::OsStr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

const DEFAULTS: &str = include_str!("config.default.toml");

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is there and cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not valid, or has an unknown key.
    #[error("{path} is not valid: {message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Key, line and rule.
        message: String,
    },
}

/// Settings of a node; `config.default.toml` says what each one means.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "each key is documented once, in config.default.toml"
)]
pub struct Config {
    pub listen: String,
    #[serde(deserialize_with = "origins")]
    pub allowed_origins: Vec<String>,
    pub fence_dir: String,
    pub peer_listen: String,
    pub peers: Vec<String>,
    pub peer_discovery: bool,
    pub peer_secret_file: String,
    pub peer_heartbeat_ms: u64,
    pub second_copy_wait_ms: u64,
    pub first_peer_wait_ms: u64,
    pub escrow_wait_ms: u64,
    #[serde(deserialize_with = "relay_pause_s")]
    pub relay_pause_s: i64,
    pub reconcile_after_start_s: u32,
    #[serde(deserialize_with = "reconcile_pause_s")]
    pub reconcile_pause_s: i64,
    pub sync_interval_ms: u64,
    pub batch_delay_ms: u64,
    pub settle_delay_ms: u64,
    pub settle_max_ms: u64,
    pub backoff_first_ms: u64,
    pub backoff_last_ms: u64,
    pub attempts_max: i64,
    #[serde(deserialize_with = "batch_size")]
    pub batch_size: i64,
    pub insecure_http: bool,
    pub wal_limit_mib: u64,
    pub wal_limit_hours: u32,
    pub wal_offline_limit_mib: u64,
    pub wal_offline_limit_hours: u32,
    pub disk_limit_mib: u64,
    pub log_days: u32,
    #[serde(deserialize_with = "cutoff_minutes")]
    pub day_cutoff_minutes: i64,
    #[serde(deserialize_with = "utc_offset_minutes")]
    pub day_utc_offset_minutes: i64,
}

impl Config {
    /// The settings of a data directory.
    ///
    /// # Errors
    /// [`ConfigError`]; it names the file and the key.
    pub fn load(data: &Path) -> Result<Self, ConfigError> {
        let path = data.join("node.toml");
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::overlaid(&text).map_err(|error| ConfigError::Parse {
                path,
                message: error.to_string(),
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(ConfigError::Read { path, source }),
        }
    }

    fn overlaid(text: &str) -> Result<Self, toml::de::Error> {
        let mut table: toml::Table = toml::from_str(DEFAULTS)?;
        let given: toml::Table = toml::from_str(text)?;
        table.extend(given);
        table.try_into()
    }

    /// Messages of lanes that are read, sent or stored at once.
    pub(crate) fn batch_messages(&self) -> usize {
        usize::try_from(self.batch_size).unwrap_or(1).max(1)
    }

    /// The size of a WAL at which it is folded, in bytes.
    pub const fn wal_limit_bytes(&self) -> u64 {
        self.wal_limit_mib * 1024 * 1024
    }

    /// When the book's WAL is folded.
    pub(crate) fn wal_limits(&self, now_ms: i64) -> WalLimits {
        let limit = |mib: u64, hours: u32| WalLimit {
            bytes: mib * 1024 * 1024,
            age_ms: i64::from(hours) * 60 * 60 * 1000,
        };
        WalLimits {
            now_ms,
            acknowledged: limit(self.wal_limit_mib, self.wal_limit_hours),
            any: limit(self.wal_offline_limit_mib, self.wal_offline_limit_hours),
        }
    }

    /// When a business day begins.
    pub const fn day_rule(&self) -> DayRule {
        DayRule {
            utc_offset_minutes: self.day_utc_offset_minutes,
            cutoff_minutes: self.day_cutoff_minutes,
        }
    }

    /// The pause between two looks at what the hub lacks of other lanes' journals.
    pub(crate) fn reconcile_after_start(&self) -> Duration {
        Duration::from_secs(self.reconcile_after_start_s.into())
    }

    pub(crate) fn reconcile_pause(&self) -> Duration {
        Duration::from_secs(self.reconcile_pause_s.unsigned_abs())
    }

    pub(crate) fn relay_pause(&self) -> Duration {
        Duration::from_secs(self.relay_pause_s.unsigned_abs())
    }

    /// The longest pause between two syncs.
    pub const fn sync_interval(&self) -> Duration {
        Duration::from_millis(self.sync_interval_ms)
    }
}

fn within<'de, D: Deserializer<'de>>(
    deserializer: D,
    range: RangeInclusive<i64>,
    unit: &str,
) -> Result<i64, D::Error> {
    let found = i64::deserialize(deserializer)?;
    if range.contains(&found) {
        return Ok(found);
    }
    let (first, last) = range.into_inner();
    let text = format!("{found} is not between {first} and {last} {unit}");
    Err(D::Error::custom(text))
}

/// Origins as browsers send them: anything else would never match.
fn origins<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let found = Vec::<String>::deserialize(deserializer)?;
    let is_origin = |text: &String| {
        let host = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"));
        host.is_some_and(|host| {
            let plain =
                |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-:[]".contains(c);
            !host.is_empty() && host.chars().all(plain)
        })
    };
    match found.iter().find(|text| !is_origin(text)) {
        Some(text) => Err(D::Error::custom(format!(
            "`{text}` is not an origin; one is a scheme, a host in lower case and a port where it is not the usual \
             one, such as https://till.example or http://localhost:8080"
        ))),
        None => Ok(found),
    }
}

/// A shorter pause is none; after a longer one a dead lane's sales would miss the figures of their day.
pub(crate) const RELAY_PAUSE_S: RangeInclusive<i64> = 1..=86_400;

fn relay_pause_s<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    within(deserializer, RELAY_PAUSE_S, "seconds")
}

/// A hub takes no more at once, and a sale waits for what is stored at once.
pub(crate) const BATCH_SIZE: RangeInclusive<i64> = 1..=512;

fn batch_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    within(deserializer, BATCH_SIZE, "messages")
}

/// More often costs more than it can find; less often than once a day a level stays wrong over the counting of a day.
pub(crate) const RECONCILE_PAUSE_S: RangeInclusive<i64> = 1..=86_400;

fn reconcile_pause_s<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    within(deserializer, RECONCILE_PAUSE_S, "seconds")
}

fn cutoff_minutes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    within(deserializer, 0..=1_439, "minutes")
}

/// From the farthest west to the farthest east that there is.
fn utc_offset_minutes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    within(deserializer, -720..=840, "minutes")
}

impl Default for Config {
    fn default() -> Self {
        Self::overlaid("").unwrap_or_else(|error| unreachable!("the embedded defaults: {error}"))
    }
}

impl Config {
    /// Where marks of this machine's tills may lie, the preferred place first; none when they are switched off.
    #[expect(
        clippy::disallowed_methods,
        reason = "the environment is read in this file only"
    )]
    pub(crate) fn fence_folders(&self) -> Vec<PathBuf> {
        let given = std::env::var("COUNTERFOIL_FENCE_DIR").ok();
        match given.as_deref().unwrap_or(&self.fence_dir) {
            "" => Vec::new(),
            "auto" => {
                // One that is empty or relative counts as none, says its standard.
                let state = std::env::var("XDG_STATE_HOME").ok().map(PathBuf::from);
                let state = state.filter(|state| state.is_absolute());
                let home = || std::env::var("HOME").ok().map(PathBuf::from);
                let own = state.or_else(|| Some(home()?.join(".local/state")));
                let own = own.map(|folder| folder.join("counterfoil/fence"));
                let shared = PathBuf::from("/var/lib/counterfoil/fence");
                std::iter::once(shared).chain(own).collect()
            }
            folder => vec![PathBuf::from(folder)],
        }
    }
}

/// Whether a variable is set, to something.
#[expect(
    clippy::disallowed_methods,
    reason = "the environment is read in this file only"
)]
pub(crate) fn is_set(name: &OsStr) -> bool {
    std::env::var(name).is_ok_and(|value| !value.is_empty())
}

/// A credential handed in by the environment, for daemons without a keyring: the token itself, or
/// a file that holds it (`COUNTERFOIL_TOKEN_FILE`, or systemd's credentials directory).
#[expect(
    clippy::disallowed_methods,
    reason = "the environment is read in this file only"
)]
pub fn token_from_environment() -> Option<Result<String, ConfigError>> {
    let given = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
    if let Some(token) = given("COUNTERFOIL_TOKEN") {
        return Some(Ok(token));
    }
    let path = match given("COUNTERFOIL_TOKEN_FILE") {
        Some(path) => PathBuf::from(path),
        None => {
            let directory = std::env::var("CREDENTIALS_DIRECTORY").ok()?;
            let path = Path::new(&directory).join("counterfoil-token");
            path.exists().then_some(path)?
        }
    };
    let read = std::fs::read_to_string(&path);
    // Editors and shells end the file with a newline that is not part of the token.
    let trimmed = read.map(|text| text.trim_end_matches(['\r', '\n']).to_owned());
    Some(trimmed.map_err(|source| ConfigError::Read { path, source }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_defaults_are_valid_and_a_file_overlays_them() {
        let defaults = Config::default();
        let config = Config::overlaid("sync_interval_ms = 7").expect("a valid file");
        assert_eq!(
            config,
            Config {
                sync_interval_ms: 7,
                ..defaults
            }
        );
    }

    #[test]
    fn a_day_that_begins_nowhere_on_earth_is_an_error_that_names_the_rule() {
        let error = Config::overlaid("day_utc_offset_minutes = 900").expect_err("too far east");
        assert!(
            error.to_string().contains("between -720 and 840"),
            "{error}"
        );
        let error = Config::overlaid("day_cutoff_minutes = -1").expect_err("before midnight");
        assert!(error.to_string().contains("between 0 and 1439"), "{error}");
    }

    #[test]
    fn a_lane_that_would_ask_the_hub_all_the_time_or_hardly_ever_is_an_error() {
        for pause in [-1, 0, 86_401] {
            let error =
                Config::overlaid(&format!("relay_pause_s = {pause}")).expect_err("too often");
            let text = error.to_string();
            assert!(text.contains("between 1 and 86400 seconds"), "{text}");
        }
    }

    #[test]
    fn an_origin_that_no_browser_sends_is_an_error_that_says_what_one_is() {
        let of = |origin: &str| Config::overlaid(&format!("allowed_origins = [\"{origin}\"]"));
        for origin in [
            "https://till.example",
            "http://localhost:8080",
            "http://[::1]",
        ] {
            assert_eq!(of(origin).expect("valid").allowed_origins, [origin]);
        }
        for origin in [
            "*",
            "null",
            "till.example",
            "https://",
            "https://till.example/",
            "https://Till.example",
        ] {
            let error = of(origin).expect_err("not an origin").to_string();
            assert!(error.contains("is not an origin"), "{origin}: {error}");
        }
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_it() {
        let error = Config::overlaid("sync_intervall_ms = 7").expect_err("a typo");
        assert!(error.to_string().contains("sync_intervall_ms"), "{error}");
    }
}
