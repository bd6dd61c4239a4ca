//! Hubs that get the same pushes in an order of their own, with repeats, restarts, restored backups and changes of
//! policy, hold the same catalog and the same conflicts (G5, G6).

use crate::hub::{Client, TestHub};
use crate::till::{TIME_MS, Till};
use counterfoil_domain::env::{Random as _, import_id};
use counterfoil_domain::merge::{Policy, Stamp};
use counterfoil_domain::{Hlc, ImportId, NodeId, Scalar};
use counterfoil_migrate::{Connection, Durability, params};
use counterfoil_protocol::wire::decisions::{ConflictPage, ConflictState};
use counterfoil_testkit::{SeededRandom, TempDir};
use serde_json::Value;
use std::path::Path;

/// The shop of each till: two lanes are of one.
const SHOPS: [&str; 3] = ["A", "B", "A"];
const COLUMNS: [&str; 4] = ["name", "unit", "price_mills", "barcode"];
const ROWS: usize = 4;
const EDITS: usize = 60;

struct Dice(SeededRandom);

impl Dice {
    fn below(&self, bound: usize) -> usize {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        usize::try_from(u32::from_le_bytes(bytes)).unwrap() % bound
    }
}

/// An edit of one till, as it makes it at every hub.
#[derive(Clone, Debug)]
struct Step {
    row: String,
    column: &'static str,
    value: Scalar,
    /// What its maker has seen of the field, and replaces.
    base: Vec<Stamp>,
    /// The newest that its till has seen of anything.
    seen: Hlc,
    at_ms: i64,
    import: Option<ImportId>,
    /// What it is called.
    stamp: Stamp,
}

impl Step {
    fn make(&self, till: &mut Till) -> Stamp {
        till.observe(self.seen);
        till.at_ms = Some(self.at_ms);
        till.import = self.import;
        till.edit(&self.row, (self.column, self.value.clone()), &self.base)
    }
}

/// A change of policy, and when it comes into force.
#[derive(Clone, Copy, Debug)]
struct Change {
    column: &'static str,
    at_ms: i64,
    policy: Policy,
}

#[derive(Debug)]
struct Script {
    /// By till, in the order in which it makes them.
    steps: [Vec<Step>; 3],
    /// By time.
    changes: Vec<Change>,
}

fn time_of(number: usize) -> i64 {
    TIME_MS + i64::try_from(number).unwrap() * 1_000
}

/// What a till takes for the value of a field when it hears of others: its own edit stays on top, or it has seen both.
fn hear(dice: &Dice, own: &mut Vec<Stamp>, news: Vec<Stamp>, till: NodeId) {
    let is_own = |stamp: &Stamp| *stamp == Stamp::new(stamp.hlc, till);
    match own.iter().any(is_own) {
        true if dice.below(2) == 0 => {}
        true => {
            own.extend(news);
            own.sort();
            own.dedup();
        }
        false => *own = news,
    }
}

/// What the tills do, each knowing of the others what it has happened to hear.
fn script(seed: u64) -> Script {
    let dice = Dice(SeededRandom::new(seed));
    let mut tills = [60, 61, 62].map(Till::new);
    let mut steps: [Vec<Step>; 3] = Default::default();
    // What each till holds of each field: heads of what it has heard.
    let mut held: [Vec<Vec<Stamp>>; 3] = Default::default();
    for of_till in &mut held {
        of_till.resize(ROWS * COLUMNS.len(), Vec::new());
    }
    let mut heard = [Hlc::ZERO; 3];
    for number in 0..EDITS {
        let at = dice.below(3);
        let field = dice.below(ROWS * COLUMNS.len());
        let column = COLUMNS[field % COLUMNS.len()];
        // Now and then two have the same idea.
        let value = match column {
            "price_mills" => Scalar::Integer(i64::try_from(100 + dice.below(40)).unwrap()),
            _ => Scalar::Text(format!("{column} {}", dice.below(40))),
        };
        let mut step = Step {
            row: format!("P{}", field.div_euclid(COLUMNS.len())),
            column,
            value,
            base: held[at][field].clone(),
            seen: heard[at],
            at_ms: time_of(number),
            import: (dice.below(5) == 0).then(|| import_id(TIME_MS, &SeededRandom::new(seed))),
            stamp: Stamp {
                hlc: Hlc::ZERO,
                node_tag: 0,
            },
        };
        step.stamp = step.make(&mut tills[at]);
        heard[at] = step.stamp.hlc;
        held[at][field] = vec![step.stamp];
        steps[at].push(step);
        // One hears of everything that another holds.
        if dice.below(6) == 0 {
            let (from, to) = (dice.below(3), dice.below(3));
            let news = held[from].clone();
            for (own, news) in held[to].iter_mut().zip(news) {
                hear(&dice, own, news, tills[to].id);
            }
            heard[to] = heard[to].max(heard[from]);
        }
    }
    let policies = [
        ("name", Policy::Manual),
        ("*", Policy::HubWins),
        ("name", Policy::ShopWins),
        ("unit", Policy::ShopWins),
        ("name", Policy::LastWriterWins),
    ];
    let changes = (1_usize..).zip(policies).map(|(nth, (column, policy))| {
        let number = (nth * EDITS).div_euclid(6);
        // Between two edits.
        let at_ms = time_of(number) + 500;
        Change {
            column,
            at_ms,
            policy,
        }
    });
    Script {
        steps,
        changes: changes.collect(),
    }
}

/// What a hub holds in the end, under names that are the same at every hub.
#[derive(PartialEq, Eq, Debug)]
struct Outcome {
    catalog: Vec<String>,
    /// Values that lost and are not settled otherwise: the field, what lost, what is current, and the state.
    conflicts: Vec<(String, Stamp, Value, Stamp, ConflictState)>,
}

async fn outcome(hub: &TestHub, client: &Client) -> Outcome {
    let db = Connection::open_read_only(hub.dir.join("catalog.db")).unwrap();
    let sql = "SELECT id || ' ' || coalesce(name, '-') || ' ' || coalesce(unit, '-') || ' ' || coalesce(barcode, '-')
                   || ' ' || coalesce(price_mills, '-') || ' ' || last_modified_at || ' ' || versions
               FROM products ORDER BY id";
    let catalog = db.query_map(sql, (), |row| row.get(0)).unwrap();
    let page: ConflictPage = client.admin_get("conflicts?limit=500").await;
    assert_eq!(page.next, None);
    let mut conflicts: Vec<_> = page
        .conflicts
        .into_iter()
        // Who heard of two at once that another heard one by one has no conflict that an edit had settled since.
        .filter(|row| {
            let lost = matches!(row.state, ConflictState::Open | ConflictState::ByPolicy);
            lost && row.loser.stamp != row.current.stamp
        })
        .map(|row| {
            let field = format!("{} {} {}", row.table, row.row, row.column);
            let (loser, current) = (row.loser, row.current.stamp);
            (field, loser.stamp, loser.value, current, row.state)
        })
        .collect();
    conflicts.sort_by(|one, other| (&one.0, one.1).cmp(&(&other.0, other.1)));
    Outcome { catalog, conflicts }
}

fn is_catalog(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_string_lossy();
    name.starts_with("catalog.db")
}

fn remove(path: &Path) {
    if path.is_dir() {
        std::fs::remove_dir_all(path).unwrap();
    } else {
        std::fs::remove_file(path).unwrap();
    }
}

fn copy_all(from: &Path, to: &Path) {
    if !from.is_dir() {
        std::fs::copy(from, to).unwrap();
        return;
    }
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        copy_all(&entry.path(), &to.join(entry.file_name()));
    }
}

/// A hub that lives through the script in an order of its own.
struct Life<'a> {
    script: &'a Script,
    dice: Dice,
    hub: Option<TestHub>,
    tills: Vec<Till>,
    /// How much of its part each till has done.
    done: [usize; 3],
    /// How many changes of policy have been made.
    changed: usize,
    backup: Option<TempDir>,
    /// What happened, for whoever reads of a difference.
    told: Vec<String>,
}

impl<'a> Life<'a> {
    async fn begin(script: &'a Script, order: u64) -> Self {
        let hub = TestHub::start().await;
        let client = hub.client();
        let mut tills = Vec::new();
        for (seed, shop) in (60..).zip(SHOPS) {
            tills.push(Till::of(&client, shop, seed).await);
        }
        Self {
            script,
            dice: Dice(SeededRandom::new(order)),
            hub: Some(hub),
            tills,
            done: [0; 3],
            changed: 0,
            backup: None,
            told: Vec::new(),
        }
    }

    fn client(&self) -> Client {
        self.hub.as_ref().unwrap().client()
    }

    /// Stops the hub, does something with its files, and starts it again.
    async fn restart(&mut self, what: &str, meanwhile: impl FnOnce(&mut Self, &Path)) {
        self.told.push(what.to_owned());
        let mut hub = self.hub.take().unwrap();
        hub.stop().await;
        meanwhile(self, hub.dir.path());
        self.hub = Some(hub.restart().await);
    }

    /// Makes the next changes of policy, up to a number of them, as the same hub's clock would have stamped them.
    async fn change(&mut self, until: usize) {
        let (from, changes) = (self.changed, &self.script.changes);
        let made = &changes[from..until.max(from)];
        if made.is_empty() {
            return;
        }
        self.changed = from + made.len();
        self.restart(&format!("policies {from} to {until}"), |_, dir| {
            write_changes(dir, made);
        })
        .await;
    }

    /// What is in force when a till has done its next steps must be known: a hub stamps behind everything it has heard.
    async fn push(&mut self, at: usize, until: usize) {
        let steps = &self.script.steps[at][self.done[at]..until];
        let newest = steps.iter().map(|step| step.at_ms).max().unwrap_or(0);
        let due = self.script.changes.iter();
        let due = due.take_while(|change| change.at_ms < newest).count();
        self.change(due).await;
        self.told.push(format!("till {at} up to {until}"));
        for step in steps {
            assert_eq!(step.make(&mut self.tills[at]), step.stamp);
        }
        self.done[at] = until;
        self.tills[at].push(&self.client()).await.unwrap();
    }

    async fn turn(&mut self) {
        let script = self.script;
        match self.dice.below(12) {
            0 => self.restart("restart", |_, _| {}).await,
            // Earlier than anybody needs it.
            1 => {
                let next = (self.changed + 1).min(script.changes.len());
                self.change(next).await;
            }
            2 => {
                // What arrived is sent once more.
                let at = self.dice.below(3);
                self.told.push(format!("till {at} again"));
                self.tills[at].push(&self.client()).await.unwrap();
            }
            3 => {
                self.told.push("settle".to_owned());
                self.client().settle().await;
            }
            4 if self.backup.is_none() => {
                self.restart("backup", |life, dir| {
                    let kept = TempDir::new("backup");
                    copy_all(dir, kept.path());
                    life.backup = Some(kept);
                })
                .await;
            }
            _ => {
                let open = (0..3).filter(|at| self.done[*at] < script.steps[*at].len());
                let open: Vec<usize> = open.collect();
                if let Some(at) = open.get(self.dice.below(open.len().max(1))) {
                    let until = self.done[*at] + 1 + self.dice.below(5);
                    self.push(*at, until.min(script.steps[*at].len())).await;
                }
            }
        }
    }

    /// The hub as it was at its backup; what people decided since has to be decided again.
    async fn restore(&mut self) {
        let Some(kept) = self.backup.take() else {
            return;
        };
        let made = &self.script.changes[..self.changed];
        // The catalog can be written again from the rest, and may be newer.
        let with_catalog = self.dice.below(2) == 0;
        self.restart("restore", |_, dir| {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if with_catalog || !is_catalog(&path) {
                    remove(&path);
                }
            }
            for entry in std::fs::read_dir(kept.path()).unwrap() {
                let entry = entry.unwrap();
                if with_catalog || !is_catalog(&entry.path()) {
                    copy_all(&entry.path(), &dir.join(entry.file_name()));
                }
            }
            write_changes(dir, made);
        })
        .await;
    }

    async fn live(mut self) -> (Outcome, Vec<String>) {
        let all = |life: &Self| life.script.steps.iter().map(Vec::len).eq(life.done);
        while !all(&self) {
            self.turn().await;
            if self.dice.below(20) == 0 {
                self.restore().await;
            }
        }
        self.restore().await;
        self.change(self.script.changes.len()).await;
        let mut order = vec![0, 1, 2];
        order.rotate_left(self.dice.below(3));
        let client = self.client();
        for at in order {
            self.tills[at].push(&client).await.unwrap();
        }
        client.settle().await;
        let outcome = outcome(self.hub.as_ref().unwrap(), &client).await;
        (outcome, self.told)
    }
}

/// Writes changes of policy as a hub does that stamps them then. What stands there already stays.
fn write_changes(dir: &Path, changes: &[Change]) {
    let db = Connection::open_existing(dir.join("hub.db"), Durability::Full).unwrap();
    for change in changes {
        let sql =
            "INSERT OR IGNORE INTO policy_change (table_name, column_name, hlc, node_tag, policy)
                   VALUES ('products', ?1, ?2, 7, ?3)";
        let hlc = Hlc::at_millis(change.at_ms).raw();
        db.execute(sql, params![change.column, hlc, change.policy.name()])
            .unwrap();
    }
    db.close();
}

#[tokio::test]
async fn hubs_that_get_the_same_pushes_and_policies_in_any_order_hold_the_same() {
    let (mut open, mut settled) = (0, 0);
    for seed in 0..4 {
        let script = script(seed);
        let (first, _) = Life::begin(&script, 1_000 + seed).await.live().await;
        let (other, told) = Life::begin(&script, 2_000 + seed).await.live().await;
        assert_eq!(other, first, "seed {seed}: {told:#?} {script:#?}");
        let states = first.conflicts.iter().map(|row| row.4);
        open += states
            .clone()
            .filter(|it| *it == ConflictState::Open)
            .count();
        settled += states.filter(|it| *it == ConflictState::ByPolicy).count();
        let prices = first
            .conflicts
            .iter()
            .filter(|row| row.0.ends_with("price_mills"));
        assert!(prices.count() > 0, "seed {seed}: no two prices met");
    }
    assert!(open > 5 && settled > 5, "{open} {settled}");
}
