//! Records poisoned in many ways, on days that tills close: what is proved, what is named, and what heals.

use crate::counter::Counter;
use crate::hub::{Client, TestHub, command};
use crate::poison::{Cure, Poison, awaited, sums, values};
use crate::quarantine::{Expected, check_held, decided};
use crate::till::Till;
use counterfoil_domain::document::{Receipt, Tender};
use counterfoil_domain::{Document, DocumentId, Scalar};
use counterfoil_migrate::params;
use counterfoil_protocol::wire::closure::{Proof, ProofRow, ProofState};
use counterfoil_protocol::wire::quarantine::QuarantineAnswer;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

const DAYS: [&str; 5] = [
    "2011-03-07",
    "2011-03-08",
    "2011-03-09",
    "2011-03-10",
    "2011-03-11",
];
/// Days on which records are poisoned; the others have at most what depends on those.
const POISONED: [usize; 2] = [1, 3];
const LANES: usize = 3;
/// Sound entries of a till on a day: one record in a hundred is poisoned.
const ENTRIES: i64 = 86;
/// How many of them stand between two poisoned ones.
const BETWEEN: i64 = 20;

/// A poisoned record.
struct Poisoned {
    poison: Poison,
    lane: usize,
    seq: i64,
    /// As it was before.
    id: DocumentId,
    receipt: Receipt,
    /// Refunds of it, and of those.
    following: Vec<i64>,
}

/// Why a receipt keeps its day from being proved.
type Kinds = BTreeMap<(i64, String), &'static str>;

/// The days of some tills.
struct Week {
    counters: Vec<Counter>,
    poisoned: Vec<Poisoned>,
    /// Refunds that somebody takes back on the next day: the till, which poisoned record it hangs on, the refund.
    due: Vec<(usize, usize, DocumentId)>,
    quarantine: Expected,
    /// By till and day.
    named: BTreeMap<(usize, usize), Kinds>,
}

impl Week {
    async fn of(client: &Client) -> Self {
        let mut counters = Vec::new();
        for (shop, seed) in [("Leith", 1), ("Leith", 2), ("Crail", 3)] {
            let counter = Counter::of(client, shop, seed).await;
            // A program that numbers twice has no index against it; syncing is not what is tested here.
            let sql = "PRAGMA synchronous=OFF; DROP INDEX receipt_by_number";
            counter.till.book.execute_batch(sql).unwrap();
            counters.push(counter);
        }
        Self {
            counters,
            poisoned: Vec::new(),
            due: Vec::new(),
            quarantine: Expected::new(),
            named: BTreeMap::new(),
        }
    }

    fn tills(&self) -> Vec<&Till> {
        self.counters.iter().map(|counter| &counter.till).collect()
    }

    /// A day of a till: trade, what is poisoned and what depends on it, and its end.
    fn trade(&mut self, (lane, day): (usize, usize), poisons: Vec<(usize, Poison)>) {
        for (_, index, refund) in self
            .due
            .extract_if(.., |due| due.0 == lane)
            .collect::<Vec<_>>()
        {
            self.take_back((lane, day), index, refund);
        }
        let between = i64::try_from(poisons.len().saturating_sub(1)).unwrap() * BETWEEN;
        trade(&mut self.counters[lane], DAYS[day], ENTRIES - between);
        for (index, (way, poison)) in poisons.into_iter().enumerate() {
            if index > 0 {
                trade(&mut self.counters[lane], DAYS[day], BETWEEN);
            }
            self.poison((lane, day), way, poison);
        }
        self.counters[lane].close(DAYS[day]);
    }

    fn poison(&mut self, (lane, day): (usize, usize), way: usize, poison: Poison) {
        let counter = &mut self.counters[lane];
        let (seq, id, receipt) = if poison.code == "refund_of_unknown" {
            counter.take_back(DAYS[day], Some(awaited()))
        } else {
            let receipt = counter.receipt(DAYS[day], 2);
            let (seq, id) = counter.record(Document::Sale(receipt.clone()));
            (seq, id, receipt)
        };
        counter.till.book.execute(poison.sql, params![seq]).unwrap();
        let (code, number) = (poison.code, receipt.number);
        let following = Vec::new();
        self.poisoned.push(Poisoned {
            poison,
            lane,
            seq,
            id,
            receipt,
            following,
        });
        self.aside((lane, day), (seq, number), code);
        // Nothing can name a record whose id is damaged.
        if code != "id_damaged" {
            let index = self.poisoned.len() - 1;
            let refund = self.take_back((lane, day), index, id);
            if way.is_multiple_of(4) {
                self.due.push((lane, index, refund));
            } else {
                self.take_back((lane, day), index, refund);
            }
        }
    }

    /// A refund that hangs on a poisoned record, by itself or through another refund.
    fn take_back(&mut self, place: (usize, usize), index: usize, of: DocumentId) -> DocumentId {
        let (seq, id, paper) = self.counters[place.0].take_back(DAYS[place.1], Some(of));
        self.poisoned[index].following.push(seq);
        self.aside(place, (seq, paper.number), "refund_of_quarantined");
        id
    }

    fn aside(&mut self, place: (usize, usize), paper: (i64, i64), code: &'static str) {
        self.quarantine.insert((place.0, paper.0), code);
        self.name(place, paper, "quarantined");
    }

    fn name(&mut self, place: (usize, usize), (seq, number): (i64, i64), kind: &'static str) {
        let named = self.named.entry(place).or_default();
        named.insert((seq, format!("L1-{number}")), kind);
    }

    /// These came back as they had been recorded.
    fn healed(&mut self, lane: usize, seqs: &[i64]) {
        for seq in seqs {
            self.quarantine.remove(&(lane, *seq)).unwrap();
        }
        for ((_, _), named) in self.named.iter_mut().filter(|((of, _), _)| *of == lane) {
            named.retain(|(seq, _), _| !seqs.contains(seq));
        }
        self.named.retain(|_, named| !named.is_empty());
    }

    /// Whether each day of each till is what it should be.
    async fn check(&self, hub: &TestHub, client: &Client) {
        check_held(hub, client, &self.tills(), &self.quarantine).await;
        for (day, date) in DAYS.iter().enumerate() {
            let proof: Proof = client.admin_get(&format!("proof?day={date}")).await;
            assert_eq!(proof.proved, self.is_proved(day), "{date}");
            assert_eq!(proof.rows.len(), LANES, "{date}");
            for (lane, counter) in self.counters.iter().enumerate() {
                let mut rows = proof.rows.iter();
                let row = rows.find(|row| row.node_id == counter.till.id).unwrap();
                let named = self.named.get(&(lane, day)).cloned().unwrap_or_default();
                check_row(row, &named, &format!("till {lane}, {date}"));
            }
        }
    }

    fn is_proved(&self, day: usize) -> bool {
        self.named.keys().all(|(_, of)| *of != day)
    }
}

/// Entries that are nobody's fault.
fn trade(counter: &mut Counter, date: &str, entries: i64) {
    let end = counter.till.seq + entries;
    while counter.till.seq < end {
        match counter.till.seq % 7 {
            3 => counter.till.move_stock(1_000),
            4 => {
                let name = Scalar::Text(format!("tea {}", counter.till.seq));
                counter.till.edit("TEA", ("name", name), &[]);
            }
            5 => counter.refund(date),
            6 if counter.till.seq + 2 <= end => {
                let receipt = counter.receipt(date, 1);
                let (_, sale) = counter.record(Document::Sale(receipt));
                counter.take_back(date, Some(sale));
            }
            0 => {
                counter.sell(date, Tender::Card);
            }
            _ => {
                counter.sell(date, Tender::Cash);
            }
        }
    }
}

/// A day without anything wrong is proved; another one names what is wrong, each receipt once, and nothing else.
fn check_row(row: &ProofRow, named: &Kinds, what: &str) {
    let state = if named.is_empty() {
        ProofState::Proved
    } else {
        ProofState::Failed
    };
    assert_eq!(row.state, state, "{what}: {row:?}");
    let (of_receipts, others): (Vec<_>, Vec<_>) = row
        .findings
        .iter()
        .partition(|it| it.seq.is_some() || it.receipt.is_some());
    let found: Vec<_> = of_receipts
        .iter()
        .map(|it| ((it.seq, it.receipt.clone()), it.kind.as_str()))
        .collect();
    let found: BTreeSet<_> = found.into_iter().collect();
    assert_eq!(found.len(), of_receipts.len(), "{what}: {row:?}");
    let wanted: BTreeSet<_> = named
        .iter()
        .map(|((seq, receipt), kind)| ((Some(*seq), Some(receipt.clone())), *kind))
        .collect();
    assert_eq!(found, wanted, "{what}: {row:?}");
    // What does not add up says by how much, and only on a day that names a receipt.
    assert!(
        others.iter().all(|it| it.kind == "takings"),
        "{what}: {row:?}"
    );
    assert!(others.is_empty() || !named.is_empty(), "{what}: {row:?}");
    assert_eq!(row.late, [], "{what}");
}

/// Every field of a receipt as the till recorded it, as a person reads it from the paper copy.
fn original(id: DocumentId, receipt: &Receipt) -> Value {
    let mut fields = Map::new();
    let mut put = |name: String, value: String| fields.insert(name, Value::String(value));
    put("id".to_owned(), id.to_string());
    put("at_ms".to_owned(), receipt.at_ms.to_string());
    put("number".to_owned(), receipt.number.to_string());
    put("total_minor".to_owned(), receipt.total_minor.to_string());
    for (line, it) in (1..).zip(&receipt.lines) {
        put(format!("line.{line}.sku"), it.sku.clone());
        put(format!("line.{line}.description"), it.description.clone());
        put(
            format!("line.{line}.quantity_milli"),
            it.quantity.milli.to_string(),
        );
        put(
            format!("line.{line}.unit_price_mills"),
            it.unit_price.mills.to_string(),
        );
        put(
            format!("line.{line}.amount_minor"),
            it.amount_minor.to_string(),
        );
    }
    for (payment, it) in (1..).zip(&receipt.payments) {
        put(
            format!("payment.{payment}.amount_minor"),
            it.amount_minor.to_string(),
        );
    }
    Value::Object(fields)
}

/// Decides about one record; what waited for it follows.
async fn cure(client: &Client, week: &mut Week, index: usize) {
    let Poisoned {
        poison,
        lane,
        seq,
        id,
        receipt,
        following,
    } = &week.poisoned[index];
    let (lane, seq, code) = (*lane, *seq, poison.code);
    let (what, changes) = match poison.cure {
        Cure::Wait => return,
        Cure::Waive => ("waive", json!({})),
        Cure::Fix(_) => ("fix", original(*id, receipt)),
    };
    let number = receipt.number;
    let day = POISONED.into_iter().find(|day| {
        let named = week.named.get(&(lane, *day));
        named.is_some_and(|named| named.keys().any(|(at, _)| *at == seq))
    });
    let mut seqs = vec![seq];
    seqs.extend(following);
    let body = json!({"who": "Ann", "why": "the paper copy", "changes": changes});
    let place = (&week.counters[lane].till, seq);
    let answer: QuarantineAnswer = decided(client, place, what, &body).await;
    let all = i64::try_from(seqs.len()).unwrap();
    assert_eq!(
        (answer.taken_in, answer.row.is_some()),
        (all, true),
        "{code}"
    );
    week.healed(lane, &seqs);
    if what == "waive" {
        // It is taken in as it is, and that is not what the till recorded.
        week.name((lane, day.unwrap()), (seq, number), "differs");
    }
}

/// The exit code and the verdict for each day, from a hub that does not run.
async fn check_command(hub: &mut TestHub, week: &Week) {
    hub.stop().await;
    for (day, date) in DAYS.iter().enumerate() {
        let output = command(hub.dir.path(), &["proof", "--day", date, "--json"]);
        let code = if week.is_proved(day) { 0 } else { 3 };
        assert_eq!(output.status.code(), Some(code), "{date}");
        let proof: Proof = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(proof.proved, week.is_proved(day), "{date}");
    }
}

#[tokio::test]
async fn exactly_what_is_poisoned_keeps_its_day_from_being_proved() {
    let mut hub = TestHub::start().await;
    let mut client = hub.client();
    let mut week = Week::of(&client).await;
    let poisons: Vec<_> = sums().into_iter().chain(values()).collect();
    let mut due: BTreeMap<(usize, usize), Vec<(usize, Poison)>> = BTreeMap::new();
    for (way, poison) in poisons.into_iter().enumerate() {
        let early = way.is_multiple_of(2) || matches!(poison.cure, Cure::Waive);
        let day = POISONED[usize::from(!early)];
        due.entry((way % LANES, day))
            .or_default()
            .push((way, poison));
    }
    for day in 0..DAYS.len() {
        for lane in 0..LANES {
            week.trade((lane, day), due.remove(&(lane, day)).unwrap_or_default());
            // Without a hello: a time that cannot be stays so where no clock was measured.
            week.counters[lane].till.push(&client).await.unwrap();
            client.settle().await;
        }
    }
    let records: i64 = week.tills().iter().map(|till| till.seq).sum();
    let poisoned = i64::try_from(week.poisoned.len()).unwrap();
    assert!(
        (records - 100 * poisoned).abs() < 5 * poisoned,
        "{poisoned} of {records}"
    );
    week.check(&hub, &client).await;
    assert!(!POISONED.iter().any(|day| week.is_proved(*day)) && week.is_proved(0));
    check_command(&mut hub, &week).await;
    hub = hub.restart().await;
    client = hub.client();
    week.check(&hub, &client).await;

    for index in 0..week.poisoned.len() {
        cure(&client, &mut week, index).await;
        week.check(&hub, &client).await;
    }
    // What one refund waits for comes from a till that was away.
    let mut late = Till::of(&client, "Crail", 4).await;
    late.record_as(&Document::Sale(late.receipt(1)), awaited());
    late.push(&client).await.unwrap();
    assert_eq!(client.settle().await.quarantined, 0);
    for (lane, seq) in week.quarantine.keys().copied().collect::<Vec<_>>() {
        week.healed(lane, &[seq]);
    }
    week.check(&hub, &client).await;
    let named: Vec<_> = week
        .named
        .values()
        .flatten()
        .map(|(_, kind)| *kind)
        .collect();
    assert_eq!(named, ["differs"; 3], "what was waived");
    assert!(week.is_proved(POISONED[1]) && !week.is_proved(POISONED[0]));
    check_command(&mut hub, &week).await;
}
