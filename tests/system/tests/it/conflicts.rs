//! Conflicts at the tills that have a part in them: shown with both values, decided with and without the hub.

use crate::process::{Daemon, Done, HUB, eventually, hub, join_code, node, till};
use counterfoil_testkit::TempDir;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn joined(dir: &TempDir, hub_data: &Path, shop: &str) -> PathBuf {
    let data = dir.join(shop);
    till(&data);
    let code = join_code(hub_data, shop);
    node(&data, &["activate", "--join", &code]).succeeds();
    data
}

fn limit(data: &Path, value: &str) {
    let set = format!("credit_limit_minor={value}");
    node(data, &["catalog", "set", "customers", "ANN", &set]).succeeds();
}

fn held(data: &Path) -> Value {
    let row = node(data, &["catalog", "get", "customers", "ANN", "--json"]).json();
    row["columns"]["credit_limit_minor"].clone()
}

fn conflicts(data: &Path, arguments: &[&str]) -> Vec<Value> {
    let rows = node(
        data,
        &[&["conflicts", "list", "--json"], arguments].concat(),
    )
    .json();
    rows.as_array().expect("a list").clone()
}

/// Syncs until the till has heard of as many conflicts, and nothing of its own is unmerged.
fn hears(data: &Path, count: usize) {
    eventually("the till hears of the conflicts", || {
        node(data, &["sync", "now"]).succeeds();
        let status = node(data, &["status", "--json"]).json();
        status["pending_edits"] == 0 && conflicts(data, &[]).len() == count
    });
}

/// Syncs until the hub has merged a decision about the first conflict.
fn settled(data: &Path) {
    eventually("the decision is merged", || {
        node(data, &["sync", "now"]).succeeds();
        conflicts(data, &[])[0]["state"] == "by_choice"
    });
}

/// Two shops that gave one customer a limit at the same time, and a third that has no part in it.
fn world(dir: &TempDir) -> (Daemon, PathBuf, [PathBuf; 3]) {
    let hub_data = dir.join("hub");
    let hub = Daemon::hub(&hub_data);
    let tills = ["Nord", "Sud", "West"].map(|shop| joined(dir, &hub_data, shop));
    limit(&tills[0], "100");
    limit(&tills[1], "200");
    hears(&tills[0], 0);
    hears(&tills[1], 1);
    hears(&tills[0], 1);
    hears(&tills[2], 0);
    (hub, hub_data, tills)
}

#[test]
fn a_conflict_is_shown_and_settled_at_the_tills_that_have_a_part_in_it() {
    let dir = TempDir::new("node-conflicts");
    let (_hub, hub_data, [nord, sud, west]) = world(&dir);
    let rows = conflicts(&sud, &["--open"]);
    let row = &rows[0];
    assert_eq!(
        (&row["winner"]["value"], &row["loser"]["value"]),
        (&100.into(), &200.into())
    );
    assert_eq!(
        (&row["winner"]["shop"], &row["loser"]["shop"]),
        (&"Nord".into(), &"Sud".into())
    );
    assert!(row["loser"]["at_ms"].as_i64() > Some(0), "{row}");
    assert!(row["loser"]["base_revision"].is_i64(), "{row}");
    // Under `manual` everybody sees the earlier value, also the till whose value lost.
    for data in [&nord, &sud, &west] {
        assert_eq!(held(data), 100);
    }
    let id = row["id"].to_string();
    node(&west, &["conflicts", "show", &id]).fails(1, "no part");
    let by_loser = ["conflicts", "resolve", &id, "--loser", "--by", "Jo"];
    node(&west, &by_loser).fails(1, "no part");

    let made = node(&sud, &[&by_loser[..], &["--json"]].concat()).json();
    assert_eq!(made["repeated"], false, "{made}");
    assert_eq!(made["state"], Value::Null);
    // The command waits for the hub, but not for ever: a slow one merges the decision a moment later.
    if made["merged"] == true {
        assert_eq!(made["conflict"]["state"], "by_choice", "{made}");
    }
    settled(&sud);
    hears(&nord, 1);
    for data in [&nord, &sud] {
        assert_eq!(held(data), 200);
        assert_eq!(conflicts(data, &["--open"]), [] as [Value; 0]);
    }
    node(&nord, &["conflicts", "resolve", &id, "--winner"]).fails(1, "settled");
    let trail = hub(&hub_data, &["audit", "--json"]).json();
    let decided = |row: &&Value| row["action"] == "conflict_resolved";
    let mut decided = trail.as_array().unwrap().iter().filter(decided);
    assert_eq!(decided.next().unwrap()["who"], "Jo at Sud/1", "{trail}");

    let back = node(&nord, &["conflicts", "resolve", &id, "--value", "150"]);
    back.fails(1, "put-back");
    limit(&nord, "150");
    node(&nord, &["conflicts", "put-back", &id, "--json"]).succeeds();
    hears(&sud, 1);
    assert_eq!(held(&sud), 200);
}

#[test]
fn a_decision_without_the_hub_is_kept_and_travels_later() {
    let dir = TempDir::new("node-offline-decision");
    let (hub_daemon, hub_data, [nord, sud, _]) = world(&dir);
    let id = conflicts(&sud, &[])[0]["id"].to_string();
    let url = hub_daemon.kill();
    let arguments = ["conflicts", "resolve", &id, "--value", "175", "--json"];
    let made = node(&sud, &arguments).json();
    assert_eq!(
        (&made["merged"], &made["repeated"]),
        (&false.into(), &false.into()),
        "{made}"
    );
    assert_eq!(made["conflict"]["pending"]["value"], 175);
    assert_eq!(held(&sud), 175);
    let again = node(&sud, &arguments).json();
    assert_eq!(
        (&again["repeated"], &again["id"]),
        (&true.into(), &made["id"]),
        "{again}"
    );
    // Another choice over what the person has not seen needs their word.
    let other = ["conflicts", "resolve", &id, "--winner"];
    node(&sud, &other).fails(1, "--seen");

    let listen = url.strip_prefix("http://").expect("an address");
    let _hub = Daemon::start(HUB, &hub_data, listen);
    settled(&sud);
    hears(&nord, 1);
    assert_eq!((held(&nord), held(&sud)), (175.into(), 175.into()));
}

#[test]
fn a_till_shows_the_policies_of_the_hub() {
    let dir = TempDir::new("node-policies");
    let hub_data = dir.join("hub");
    let _hub = Daemon::hub(&hub_data);
    let data = joined(&dir, &hub_data, "Nord");
    let change = ["policy", "set", "products", "name", "manual", "--by", "Jo"];
    let changed = hub(&hub_data, &change);
    changed.succeeds();
    node(&data, &["sync", "now"]).succeeds();
    let at_hub = hub(&hub_data, &["policy", "list", "--json"]).json();
    let at_till = node(&data, &["policies", "--json"]).json();
    assert_eq!(at_till, at_hub);
    let set: Vec<_> = at_till.as_array().expect("a list").iter().collect();
    let set = set
        .iter()
        .find(|row| row["column"] == "name" && row["table"] == "products");
    assert_eq!(set.expect("listed")["policy"], "manual");
    assert!(set.expect("listed")["since_ms"].is_i64());
}

fn rename(data: &Path, sku: &str, name: &str) {
    let set = format!("name={name}");
    node(data, &["catalog", "set", "products", sku, &set]).succeeds();
    synced(data);
}

/// Syncs until the hub has merged everything that was written here.
fn synced(data: &Path) {
    eventually("the hub has merged the edits", || {
        node(data, &["sync", "now"]).succeeds();
        node(data, &["status", "--json"]).json()["pending_edits"] == 0
    });
}

fn name_of(data: &Path, sku: &str) -> Value {
    synced(data);
    let row = node(data, &["catalog", "get", "products", sku, "--json"]).json();
    row["columns"]["name"].clone()
}

/// What an undoing is asked for: everything of a till, or of the till that is asked.
fn undo(data: &Path, more: &[&str]) -> Done {
    let all = [
        "undo",
        "--from",
        "2020-01-01T00:00:00Z",
        "--to",
        "2199-01-01T00:00:00Z",
    ];
    node(data, &[&all, more].concat())
}

/// Two names that another till of Nord got wrong, one of which Sud has bettered since.
struct Mistakes {
    dir: TempDir,
    hub: Daemon,
    nord: PathBuf,
    second: PathBuf,
    sud: PathBuf,
}

impl Mistakes {
    fn new() -> Self {
        let dir = TempDir::new("node-undo");
        let hub_data = dir.join("hub");
        let hub = Daemon::hub(&hub_data);
        let [nord, sud] = ["Nord", "Sud"].map(|shop| joined(&dir, &hub_data, shop));
        let second = dir.join("Nord 2");
        till(&second);
        let code = join_code(&hub_data, "Nord");
        node(&second, &["activate", "--join", &code]).succeeds();
        for sku in ["TEA", "CUP"] {
            rename(&sud, sku, "right");
        }
        synced(&second);
        for sku in ["TEA", "CUP"] {
            rename(&second, sku, "wrong");
        }
        synced(&sud);
        rename(&sud, "CUP", "better");
        Self {
            dir,
            hub,
            nord,
            second,
            sud,
        }
    }

    /// Id of the till that wrote them.
    fn id(&self) -> String {
        let status = node(&self.second, &["status", "--json"]).json();
        status["node_id"].as_str().expect("an id").to_owned()
    }

    /// What that till wrote, undone at a till.
    fn undone_at(&self, data: &Path, more: &[&str]) -> Done {
        undo(data, &[&["--node", &self.id()], more].concat())
    }
}

fn counts(undone: &Value) -> [i64; 2] {
    ["count", "kept"].map(|name| undone[name].as_i64().expect("a number"))
}

#[test]
fn a_till_takes_back_what_its_own_shop_wrote_with_the_hub() {
    let world = Mistakes::new();
    let (nord, sud) = (&world.nord, &world.sud);
    world.undone_at(sud, &[]).fails(5, "another shop");
    // Of the till that is asked, when no other one is named: it wrote nothing.
    assert_eq!(counts(&undo(nord, &["--json"]).json()), [0, 0]);
    let dry = world.undone_at(nord, &["--dry-run", "--json"]).json();
    assert_eq!(counts(&dry), [1, 1]);
    assert_eq!(name_of(nord, "TEA"), "wrong");

    let done = world.undone_at(nord, &["--by", "Jo", "--json"]).json();
    assert_eq!(done["fields"], dry["fields"]);
    // Where it was asked for it shows at once, elsewhere with the next sync.
    let row = node(nord, &["catalog", "get", "products", "TEA", "--json"]).json();
    assert_eq!(row["columns"]["name"], "right");
    for data in [nord, &world.second, sud] {
        assert_eq!(name_of(data, "TEA"), "right");
        assert_eq!(name_of(data, "CUP"), "better", "another shop's later edit");
    }
    let trail = hub(&world.dir.join("hub"), &["audit", "--json"]).json();
    let trail = trail.as_array().expect("a list").iter();
    let undone = trail.filter(|row| row["action"] == "undone");
    let whos: Vec<_> = undone.map(|row| &row["who"]).collect();
    assert_eq!(whos, ["Jo at Nord/1"]);
}

#[test]
fn without_the_hub_nothing_is_taken_back_and_nothing_is_recorded() {
    let mut world = Mistakes::new();
    let entries = |data: &Path| node(data, &["status", "--json"]).json()["journal_seq"].clone();
    let before = entries(&world.nord);
    assert!(before.is_i64(), "{before}");
    let id = world.id();
    let url = world.hub.kill();
    for more in [&[][..], &["--dry-run"]] {
        undo(&world.nord, &[&["--node", &id], more].concat()).fails(4, "cannot be reached");
    }
    assert_eq!(entries(&world.nord), before);
    let listen = url.strip_prefix("http://").expect("an address");
    world.hub = Daemon::start(HUB, &world.dir.join("hub"), listen);
    for data in [&world.nord, &world.sud] {
        assert_eq!(
            name_of(data, "TEA"),
            "wrong",
            "and nothing comes of it later"
        );
    }
    assert_eq!(
        counts(&world.undone_at(&world.nord, &["--json"]).json()),
        [1, 1]
    );
}

#[test]
fn what_a_till_has_not_delivered_yet_is_delivered_before_it_goes_back() {
    let world = Mistakes::new();
    let nord = &world.nord;
    let daemon = Daemon::node(nord);
    node(nord, &["catalog", "set", "products", "TEA", "name=typo"]).succeeds();
    assert_eq!(counts(&undo(nord, &["--json"]).json()), [1, 0]);
    assert_eq!(name_of(nord, "TEA"), "wrong", "as the other till left it");
    let nothing = daemon.post("/v1/undo", &serde_json::json!({}));
    let (status, refused) = nothing.expect("an answer");
    assert_eq!((status, &refused["code"]), (400, &"bad_request".into()));
}

#[test]
fn a_till_in_trial_has_nothing_to_take_back() {
    let dir = TempDir::new("trial-undo");
    let data = dir.join("till");
    till(&data);
    undo(&data, &[]).fails(1, "activate");
}
