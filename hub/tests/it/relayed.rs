//! What lanes bring of another lane's journal (X7): counted once, whichever way it comes first, and nobody else's.

use crate::hub::{Client, TestHub, parse, problem};
use crate::lineage::{part, point};
use crate::till::Till;
use counterfoil_domain::env::Random as _;
use counterfoil_domain::lineage::Point;
use counterfoil_domain::mesh::LaneEntry;
use counterfoil_domain::{Chain, Document, DocumentId, Hlc, NodeId, Scalar, Topic};
use counterfoil_migrate::{Connection, params};
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::lane::Held;
use counterfoil_protocol::wire::lineage::LineageAnswer;
use counterfoil_protocol::wire::quarantine::{QuarantineDetail, QuarantineRow};
use counterfoil_protocol::wire::relay::{
    RELAY_ENDS_PATH, RELAY_ENTRIES_MAX, RELAY_PATH, RelayEnd, RelayEnds, RelayEndsRequest,
    RelayRequest, RelayedRow,
};
use counterfoil_replica::env::HttpResponse;
use counterfoil_testkit::SeededRandom;
use serde_json::json;
use std::path::Path;

/// Entries of a till's journal behind one position, up to another, as another lane holds them.
pub(crate) fn entries(till: &Till, after: i64, until: i64) -> Vec<LaneEntry> {
    let mut before = point(till, after).chain;
    let sql = "SELECT seq, id, hlc, topic, chain, payload FROM journal WHERE seq > ?1 AND seq <= ?2 ORDER BY seq";
    let heads = till.book.query_map(sql, params![after, until], |row| {
        let head: (i64, Vec<u8>, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok((
            head,
            row.get::<i64>(3)?,
            row.get::<Vec<u8>>(4)?,
            row.get::<Option<String>>(5)?,
        ))
    });
    let entry = |((seq, id, hlc), kind, chain, payload): (_, i64, Vec<u8>, Option<String>)| {
        let topic = Topic::from_code(kind).unwrap();
        let document = counterfoil_book::document(&till.book, topic, seq, payload.as_deref());
        let chain = Chain::from_slice(&chain).unwrap();
        let entry = LaneEntry {
            origin: till.id,
            seq,
            id: DocumentId::from_slice(&id as &Vec<u8>).unwrap(),
            hlc: Hlc::from_raw(hlc),
            kind,
            before: std::mem::replace(&mut before, chain),
            chain,
            document: String::from_utf8(document.unwrap().unwrap().canonical()).unwrap(),
        };
        assert!(entry.is_whole());
        entry
    };
    heads.unwrap().into_iter().map(entry).collect()
}

pub(crate) async fn bring(client: &Client, by: &Till, entries: &[LaneEntry]) -> HttpResponse {
    let body = serde_json::to_value(RelayRequest::of(entries)).unwrap();
    client.post(RELAY_PATH, Some(&by.token), &body).await
}

/// How far the hub has what `by` holds of a till's journal up to `end`.
pub(crate) async fn end_of(
    client: &Client,
    by: &Till,
    origin: NodeId,
    end: Point,
) -> Option<RelayEnd> {
    let begin = Point::START;
    let holds = vec![Held { origin, begin, end }];
    let body = serde_json::to_value(RelayEndsRequest { holds }).unwrap();
    let answer = client.post(RELAY_ENDS_PATH, Some(&by.token), &body).await;
    parse::<RelayEnds>(&answer).journals.pop()
}

/// All that the hub's tables hold of documents, row by row; shops have another id at each hub.
fn counted(dir: &Path) -> Vec<String> {
    let hub = Connection::open_read_only(dir.join("hub.db")).unwrap();
    let tables = [
        "receipt",
        "receipt_line",
        "payment",
        "document",
        "field_version",
        "link",
        "edit_progress",
    ];
    let mut rows = Vec::new();
    for table in tables {
        let sql =
            "SELECT group_concat('quote(' || name || ')', '||'',''||') FROM pragma_table_xinfo(?1)
                   WHERE name NOT LIKE '%revision%' AND name NOT LIKE '%shop%'";
        let columns: String = hub.query_value(sql, params![table]).unwrap();
        let sql = format!("SELECT '{table} ' || {columns} FROM {table} ORDER BY 1");
        rows.extend(hub.query_map(&sql, (), |row| row.get::<String>(0)).unwrap());
    }
    rows
}

/// Compares what two hubs hold; `told` is how it came to be.
fn assert_same(hub: &TestHub, control: &TestHub, told: &str) {
    let (found, wanted) = (counted(hub.dir.path()), counted(control.dir.path()));
    let lacks: Vec<_> = wanted.iter().filter(|row| !found.contains(row)).collect();
    let more: Vec<_> = found.iter().filter(|row| !wanted.contains(row)).collect();
    assert!(found == wanted, "{told}\nlacks {lacks:#?}\nhas {more:#?}");
}

pub(crate) fn number(hub: &TestHub, sql: &str) -> i64 {
    let db = Connection::open_read_only(hub.dir.join("hub.db")).unwrap();
    db.query_value(sql, ()).unwrap()
}

/// A few things that a till does.
fn trade(till: &mut Till, number: usize) {
    match number % 5 {
        0 => till.move_stock(1_000),
        1 => {
            till.edit("TEA", ("name", Scalar::Text(format!("tea {number}"))), &[]);
        }
        2 => {
            till.take_back(None);
        }
        _ => {
            till.sell(1 + number % 3);
        }
    }
}

struct Dice(SeededRandom);

impl Dice {
    fn below(&self, bound: i64) -> i64 {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        i64::from(u32::from_le_bytes(bytes)) % bound
    }
}

/// A till of a shop with two other lanes, in an order of pushes, relays, passes and restarts of its own.
struct Life {
    dice: Dice,
    hub: TestHub,
    client: Client,
    till: Till,
    peers: [Till; 2],
    /// What happened, for whoever reads of a difference.
    told: Vec<String>,
}

/// A lane and another one that holds what it records.
pub(crate) async fn two_lanes(client: &Client) -> (Till, Till) {
    let till = Till::of(client, "Leith", 1).await;
    (till, Till::of(client, "Leith", 2).await)
}

async fn lanes(client: &Client) -> (Till, [Till; 2]) {
    let till = Till::of(client, "Leith", 70).await;
    let peers = [
        Till::of(client, "Leith", 71).await,
        Till::of(client, "Leith", 72).await,
    ];
    (till, peers)
}

impl Life {
    async fn begin(seed: u64) -> Self {
        let hub = TestHub::start().await;
        let client = hub.client();
        let (till, peers) = lanes(&client).await;
        Self {
            dice: Dice(SeededRandom::new(seed)),
            hub,
            client,
            till,
            peers,
            told: Vec::new(),
        }
    }

    async fn end_at(&self, by: &Till) -> RelayEnd {
        let end = point(&self.till, self.till.seq);
        end_of(&self.client, by, self.till.id, end).await.unwrap()
    }

    /// A lane brings any stretch of what there is.
    async fn relay(&mut self) {
        let by = &self.peers[usize::try_from(self.dice.below(2)).unwrap()];
        let until = self.dice.below(self.till.seq + 1);
        let after = self.dice.below(until + 1);
        let brought = entries(&self.till, after, until);
        if brought.is_empty() {
            return;
        }
        let end = self.end_at(by).await;
        assert!(!end.diverged, "{:?}", self.told);
        let known = end.known.seq;
        self.told
            .push(format!("brought {after} to {until}, {known} known"));
        let answer = bring(&self.client, by, &brought).await;
        if after > known {
            assert_eq!(
                problem(&answer).code,
                Code::Conflict,
                "a gap: {:?}",
                self.told
            );
        } else {
            let now = parse::<RelayEnd>(&answer).known;
            assert_eq!(now, point(&self.till, until.max(known)), "{:?}", self.told);
        }
    }

    async fn step(mut self) -> Self {
        match self.dice.below(8) {
            0 => {
                self.till.push(&self.client).await.unwrap();
                self.told.push(format!("pushed {}", self.till.seq));
            }
            1..=4 => self.relay().await,
            5 | 6 => {
                self.client.settle().await;
                self.told.push("settled".to_owned());
            }
            _ => {
                self.hub.stop().await;
                self.hub = self.hub.restart().await;
                self.client = self.hub.client();
                self.told.push("restarted".to_owned());
            }
        }
        self
    }

    /// In the end everything is there: from the till itself, or the last of it from another lane alone.
    async fn end(&self, by_itself: bool) {
        let known = self.end_at(&self.peers[0]).await.known.seq;
        if by_itself {
            self.till.push(&self.client).await.unwrap();
        } else if known < self.till.seq {
            let rest = entries(&self.till, known, self.till.seq);
            parse::<RelayEnd>(&bring(&self.client, &self.peers[0], &rest).await);
        }
    }
}

async fn live(seed: u64) {
    const ENTRIES: usize = 40;
    let (mut life, mut made) = (Life::begin(seed).await, 0);
    while made < ENTRIES || life.dice.below(6) > 0 {
        for _ in 0..life.dice.below(4) {
            if made < ENTRIES {
                trade(&mut life.till, made);
                made += 1;
            }
        }
        life = life.step().await;
    }
    life.end(seed.is_multiple_of(2)).await;
    let status = life.client.settle().await;
    let told = format!("seed {seed}: {:?}", life.told);
    assert_eq!(status.alerts, [], "{told}");

    // A hub to which the till came once.
    let control = TestHub::start().await;
    let other = control.client();
    lanes(&other).await;
    life.till.push(&other).await.unwrap();
    other.settle().await;
    assert_same(&life.hub, &control, &told);
    let behind = "SELECT count(*) FROM watermark WHERE node = 1 AND seq <>";
    let behind = format!("{behind} {}", life.till.seq);
    assert_eq!(number(&life.hub, &behind), 0, "{told}");

    // The till comes at last, and nothing changes.
    life.till.push(&life.client).await.unwrap();
    life.client.settle().await;
    assert_same(&life.hub, &control, &told);
    let kept = number(&life.hub, "SELECT count(*) FROM relayed_entry");
    assert_eq!(kept, 0, "{told}");
}

#[tokio::test]
async fn what_book_and_lanes_bring_is_counted_once_in_any_order() {
    for seed in 0..8 {
        live(seed).await;
    }
}

#[tokio::test]
async fn a_lane_that_never_came_is_counted_from_what_another_one_holds() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let (mut till, peer) = two_lanes(&client).await;
    let total = till.sell(2) + till.sell(1);
    parse::<RelayEnd>(&bring(&client, &peer, &entries(&till, 0, 2)).await);
    client.settle().await;
    assert_eq!(number(&hub, "SELECT sum(total_minor) FROM receipt"), total);
    // It is there after a restart, before anybody comes.
    let mut hub = hub;
    hub.stop().await;
    let hub = hub.restart().await;
    let client = hub.client();
    client.settle().await;
    assert_eq!(number(&hub, "SELECT count(*) FROM receipt"), 2);
    let rows: Vec<RelayedRow> = client.admin_get("relays").await;
    let [row] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((row.node, row.by), (till.id, peer.id));
    assert_eq!((row.from_seq, row.until_seq, row.sent_since), (1, 2, false));
    till.push(&client).await.unwrap();
    client.settle().await;
    let rows: Vec<RelayedRow> = client.admin_get("relays").await;
    assert!(rows[0].sent_since);
}

#[tokio::test]
async fn nobody_brings_what_is_not_of_their_shop_or_not_what_a_lane_wrote() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let (mut till, peer) = two_lanes(&client).await;
    let stranger = Till::of(&client, "Tartu", 3).await;
    till.sell(1);
    till.sell(2);
    let held = entries(&till, 0, 2);
    let code = |answer: &HttpResponse| problem(answer).code;
    assert_eq!(
        code(&bring(&client, &stranger, &held).await),
        Code::Forbidden
    );
    let end = point(&till, 2);
    assert_eq!(
        end_of(&client, &stranger, till.id, end).await,
        None,
        "nothing is said"
    );
    let unknown = NodeId::from_uuid(uuid::Uuid::from_u128(9));
    assert_eq!(end_of(&client, &peer, unknown, end).await, None);
    let mut forged = held.clone();
    forged[1].document = forged[1].document.replace("tea", "gin");
    assert_eq!(code(&bring(&client, &peer, &forged).await), Code::Invalid);
    let many = vec![held[0].clone(); RELAY_ENTRIES_MAX + 1];
    assert_eq!(code(&bring(&client, &peer, &many).await), Code::Invalid);
    assert_eq!(code(&bring(&client, &peer, &[]).await), Code::Invalid);
    let mut mixed = held.clone();
    mixed[1].origin = peer.id;
    assert_eq!(code(&bring(&client, &peer, &mixed).await), Code::Invalid);
    assert_eq!(
        code(&bring(&client, &peer, &held[1..]).await),
        Code::Conflict,
        "a gap"
    );
    let answer = client
        .post(RELAY_PATH, None, &json!({ "entries": [] }))
        .await;
    assert_eq!(code(&answer), Code::Unauthorized);
    client.settle().await;
    assert_eq!(number(&hub, "SELECT count(*) FROM relayed_entry"), 0);
    assert_eq!(number(&hub, "SELECT count(*) FROM receipt"), 0);
}

#[tokio::test]
async fn a_till_that_was_restored_behind_what_others_brought_goes_on_as_another() {
    let hub = TestHub::start().await;
    let client = hub.client();
    // The same seed makes the same entries: a folder and its backup.
    let (mut till, peer) = two_lanes(&client).await;
    let mut restored = Till::new(1);
    for folder in [&mut till, &mut restored] {
        folder.sell(1);
    }
    till.push(&client).await.unwrap();
    client.settle().await;
    let lost = till.sell(2);
    parse::<RelayEnd>(&bring(&client, &peer, &entries(&till, 1, 2)).await);
    client.settle().await;
    // Another receipt, under another id.
    restored.next_id();
    let other = restored.sell(3);
    restored.token.clone_from(&till.token);
    // It is told what it does not have, and its own push is not mixed with that.
    let known = restored.hello(&client).await.known;
    assert!(known.contains(&point(&till, 2)), "{known:?}");
    let body = json!({ "after_seq": 0 });
    let answer = client
        .post("/v1/lineage", Some(&restored.token), &body)
        .await;
    let points = parse::<LineageAnswer>(&answer).points;
    assert_eq!(points, [1, 2].map(|seq| point(&till, seq)));
    part(&client, &till, &mut restored, 5, point(&till, 1)).await;
    restored.push(&client).await.unwrap();
    client.settle().await;
    let sum = "SELECT sum(total_minor) FROM receipt WHERE seq = 2";
    assert_eq!(number(&hub, sum), lost + other);
    assert_eq!(number(&hub, "SELECT count(*) FROM receipt"), 3);
}

#[tokio::test]
async fn entries_of_a_till_that_went_on_without_them_are_told_of_and_not_mixed_in() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let (mut till, peer) = two_lanes(&client).await;
    let mut before = Till::new(1);
    for folder in [&mut till, &mut before] {
        folder.sell(1);
    }
    // What the other lane holds was sold before the folder was put back.
    before.sell(2);
    till.sell(3);
    till.sell(1);
    till.push(&client).await.unwrap();
    client.settle().await;
    let end = end_of(&client, &peer, till.id, point(&before, 2))
        .await
        .unwrap();
    assert!(end.diverged);
    let answer = bring(&client, &peer, &entries(&before, 1, 2)).await;
    assert_eq!(problem(&answer).code, Code::Diverged);
    // Who asks about more than there is to compare does not end it.
    before.sell(1);
    before.sell(1);
    let end = end_of(&client, &peer, till.id, point(&before, 4)).await;
    assert!(!end.unwrap().diverged, "the hub has three");
    let status = client.settle().await;
    let kinds: Vec<_> = status
        .alerts
        .iter()
        .map(|alert| alert.kind.as_str())
        .collect();
    assert_eq!(kinds, ["relay_diverged"], "told once");
    assert_eq!(number(&hub, "SELECT count(*) FROM receipt"), 3);
    assert_eq!(number(&hub, "SELECT count(*) FROM relayed_entry"), 0);
}

#[tokio::test]
async fn a_bad_record_that_another_lane_brought_steps_aside_and_comes_back() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let (mut till, peer) = two_lanes(&client).await;
    till.sell(1);
    let mut receipt = till.receipt(2);
    let right = receipt.total_minor;
    receipt.total_minor += 1;
    till.record(&Document::Sale(receipt));
    till.sell(3);
    parse::<RelayEnd>(&bring(&client, &peer, &entries(&till, 0, 3)).await);
    client.settle().await;
    assert_eq!(number(&hub, "SELECT count(*) FROM receipt"), 2);
    let rows: Vec<QuarantineRow> = client.admin_get("quarantine").await;
    assert_eq!((rows.len(), rows[0].seq), (1, 2));
    let shown: QuarantineDetail = client.admin_get(&format!("quarantine/{}/2", till.id)).await;
    let record = shown.record.expect("as it was brought");
    assert_eq!(record["total_minor"], right + 1);
    let path = format!("/v1/admin/quarantine/{}/2/fix", till.id);
    let changes = json!({ "total_minor": right.to_string() });
    let body = json!({ "who": "jo", "why": "the sum of its lines", "changes": changes });
    let fixed = client.post(&path, Some(&client.admin), &body).await;
    assert_eq!(fixed.status, 200, "{:?}", fixed.body);
    client.settle().await;
    assert_eq!(number(&hub, "SELECT count(*) FROM receipt"), 3);
    // What its till sends later changes nothing any more.
    till.push(&client).await.unwrap();
    client.settle().await;
    assert_eq!(number(&hub, "SELECT count(*) FROM receipt"), 3);
    assert_eq!(
        number(&hub, "SELECT total_minor FROM receipt WHERE seq = 2"),
        right
    );
}
