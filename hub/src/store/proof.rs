//! Is a business day what its tills say it was?
//!
//! Everything is computed from the consolidated rows alone; the copies of the books are not looked at.

mod book;
mod judged;

use self::book::{Book, Held, Range, closed};
use self::judged::{Judged, count, judged, late_entry, takings, words};
use super::{Reader, StoreError, node_id, shop_id};
use counterfoil_domain::closure::{Day, DayRule, Takings};
use counterfoil_domain::proof::Finding;
use counterfoil_domain::{Closure, NodeId, ShopId};
use counterfoil_migrate::Connection;
use counterfoil_protocol::wire::closure::{Proof, ProofFinding, ProofRow, ProofState};
use std::collections::{BTreeMap, BTreeSet};

/// A node, with what decides whether it should have closed a day.
struct Lane {
    number: i64,
    node: NodeId,
    shop_id: ShopId,
    shop: String,
    lane: i64,
    /// It may still trade: neither revoked nor of a closed shop, and nobody goes on in its place.
    trades: bool,
    created_ms: i64,
    seen_ms: Option<i64>,
    halted: Option<String>,
}

/// One question, with what was read for it.
struct Question<'h> {
    hub: &'h Connection,
    day: Day,
    lanes: Vec<Lane>,
    books: BTreeMap<i64, Book>,
    /// By who has the closure, and its position.
    judged: BTreeMap<(i64, i64), Option<Judged>>,
}

impl Reader {
    /// Every lane that sold on a business day, or should have closed it: of one shop, or of all.
    pub(crate) fn proof(&self, day: Day, shop: Option<ShopId>) -> Result<Proof, StoreError> {
        self.hub.snapshot(|hub| {
            let lanes = lanes(hub)?;
            let mut books = BTreeMap::new();
            for lane in &lanes {
                books.insert(lane.number, Book::read(hub, lane.number)?);
            }
            let mut question = Question {
                hub,
                day,
                lanes,
                books,
                judged: BTreeMap::new(),
            };
            let mut rows = Vec::new();
            for index in 0..question.lanes.len() {
                if shop.is_some_and(|shop| shop != question.lanes[index].shop_id) {
                    continue;
                }
                rows.extend(question.row(index)?);
            }
            Ok(Proof {
                day,
                proved: rows.iter().all(|row| row.state == ProofState::Proved),
                receipts: rows
                    .iter()
                    .map(|row| count(&row.found) - count(&row.elsewhere))
                    .sum(),
                total_minor: rows
                    .iter()
                    .map(|row| {
                        row.found
                            .total_minor
                            .saturating_sub(row.elsewhere.total_minor)
                    })
                    .fold(0, i64::saturating_add),
                rows,
            })
        })
    }
}

fn lanes(hub: &Connection) -> Result<Vec<Lane>, StoreError> {
    // A till that was restored goes on as another node, and nobody hears of the former one again; one that
    // was cloned may go on beside it. When the heir was made says nothing: its answer may have been lost.
    let sql = "SELECT node.number, node.id, shop.id, shop.name, node.lane,
                   node.revoked_ms IS NULL AND shop.active <> 0 AND NOT EXISTS
                       (SELECT 1 FROM node AS heir WHERE heir.forked_from = node.number
                        AND heir.heard_ms >= coalesce(node.seen_ms, 0)),
                   node.created_ms, node.seen_ms, node.halted
               FROM node JOIN shop ON shop.id = node.shop ORDER BY shop.name, node.lane";
    Ok(hub.query_map(sql, (), |row| {
        Ok(Lane {
            number: row.get(0)?,
            node: node_id(row, 1)?,
            shop_id: shop_id(row, 2)?,
            shop: row.get(3)?,
            lane: row.get(4)?,
            trades: row.get(5)?,
            created_ms: row.get(6)?,
            seen_ms: row.get(7)?,
            halted: row.get(8)?,
        })
    })?)
}

impl Question<'_> {
    /// Judges a closure of a book, once.
    fn judge(&mut self, book: i64, seq: i64) -> Result<Option<&Judged>, StoreError> {
        let Some(book) = self.books.get(&book) else {
            return Ok(None);
        };
        let Some(&(owner, _)) = book.closures.get(&seq) else {
            return Ok(None);
        };
        if !self.judged.contains_key(&(owner, seq)) {
            // As its owner's book has it; an heir's holds the same up to there.
            let book = self.books.get(&owner).unwrap_or(book);
            let judged = match closed(self.hub, owner, seq)? {
                Some(closed) => Some(judged(self.hub, book, closed)?),
                None => None,
            };
            self.judged.insert((owner, seq), judged);
        }
        Ok(self.judged.get(&(owner, seq)).and_then(Option::as_ref))
    }

    /// The row of a lane; `None` when it neither sold nor should have closed.
    fn row(&mut self, index: usize) -> Result<Option<ProofRow>, StoreError> {
        let (number, day) = (self.lanes[index].number, self.day);
        let Some(book) = self.books.get(&number) else {
            return Ok(None);
        };
        let own = book
            .closures
            .iter()
            .find(|(_, (owner, at))| *owner == number && *at == day);
        match own.map(|(seq, _)| *seq) {
            Some(seq) => self.closed_row(index, seq).map(Some),
            None => self.open_row(index),
        }
    }

    fn closed_row(&mut self, index: usize, seq: i64) -> Result<ProofRow, StoreError> {
        let number = self.lanes[index].number;
        let mut row = blank(&self.lanes[index], ProofState::Failed);
        let Some(judged) = self.judge(number, seq)? else {
            row.findings.push(words(&Finding::Altered));
            return Ok(row);
        };
        if judged.findings.is_empty() {
            row.state = ProofState::Proved;
        }
        row.findings = judged.findings.iter().map(words).collect();
        row.found = takings(judged.covered.values());
        row.elsewhere = takings(judged.covered.values().filter(|held| held.owner != number));
        let closure = judged.closure.clone();
        if closure.trial {
            row.notice = Some("closed in trial: not sealed".to_owned());
        }
        let early = judged
            .covered
            .values()
            .filter(|held| closure.is_late(held.counted.at_ms));
        row.late = early
            .map(|held| late_entry(held, closure.rule, Some(closure.day)))
            .collect();
        let behind = Range {
            after_seq: closure.last_seq,
            until_seq: i64::MAX,
            from_ms: closure.rule.start_ms(closure.day),
            until_ms: closure.rule.end_ms(closure.day),
        };
        for held in self.own(number, behind)? {
            let with = self.closure_of(number, &held)?;
            let day = with.and_then(|seq| self.day_of(number, seq));
            row.late.push(late_entry(&held, closure.rule, day));
        }
        row.closure = Some(closure);
        Ok(row)
    }

    /// A lane that has no closure of its own for the day.
    fn open_row(&mut self, index: usize) -> Result<Option<ProofRow>, StoreError> {
        let (number, day) = (self.lanes[index].number, self.day);
        let (base, rule) = self.base(number)?;
        let range = Range {
            after_seq: base
                .as_ref()
                .map_or(0, |it| if it.ahead > 0 { 0 } else { it.last_seq }),
            until_seq: i64::MAX,
            from_ms: rule.start_ms(day),
            until_ms: rule.end_ms(day),
        };
        let mut sold = self.own(number, range)?;
        sold.retain(|held| {
            !base
                .as_ref()
                .is_some_and(|it| it.reaches(held.counted.seq, held.counted.at_ms))
        });
        let passed = self.books.get(&number);
        let passed = passed.is_some_and(|book| book.closures.values().any(|(_, at)| *at >= day));
        let lane = &self.lanes[index];
        let expected = lane.trades && !passed && lane.created_ms < range.until_ms;
        let torn = passed && self.is_torn(number)?;
        let lane = &self.lanes[index];
        if sold.is_empty() && !expected && !torn {
            return Ok(None);
        }
        let mut row = blank(lane, ProofState::Proved);
        if expected || !passed {
            let ended = "the till does not trade any more and has not closed the day";
            (row.state, row.notice) = match (&lane.halted, lane.seen_ms) {
                (Some(why), _) => (
                    ProofState::Waiting,
                    Some(format!("not consolidated: {why}")),
                ),
                (None, _) if !lane.trades => (ProofState::Open, Some(ended.to_owned())),
                (None, Some(seen)) if seen >= range.until_ms => (ProofState::Open, None),
                (None, _) => {
                    let why = "the till was not heard of since the day ended";
                    (ProofState::Waiting, Some(why.to_owned()))
                }
            };
        }
        self.place(number, passed, rule, &sold, &mut row)?;
        if torn {
            row.state = ProofState::Failed;
            row.findings.push(ProofFinding {
                kind: "closure_gap".to_owned(),
                seq: None,
                receipt: None,
                detail: "the next closure does not follow the one before: one is missing"
                    .to_owned(),
            });
        }
        Ok(Some(row))
    }

    /// Whether a closure may be missing between the last one before the day and the first one after it.
    fn is_torn(&mut self, number: i64) -> Result<bool, StoreError> {
        let (day, book) = (self.day, self.books.get(&number));
        let next = book.and_then(|book| {
            let mut behind = book.closures.iter();
            behind
                .find(|(_, (_, at))| *at >= day)
                .map(|(seq, (_, at))| (*seq, *at))
        });
        match next {
            Some((seq, at)) if at > day => Ok(self.judge(number, seq)?.is_none_or(|judged| {
                judged
                    .findings
                    .iter()
                    .any(|it| matches!(it, Finding::Gap { .. }))
            })),
            _ => Ok(false),
        }
    }

    /// Finds the closures to which the sales of an open day belong, if they do.
    fn place(
        &mut self,
        number: i64,
        passed: bool,
        rule: DayRule,
        sold: &[Held],
        row: &mut ProofRow,
    ) -> Result<(), StoreError> {
        let (mut open, mut heirs) = (Vec::new(), BTreeSet::new());
        for held in sold {
            if let Some(seq) = self.closure_of(number, held)? {
                let with = self.day_of(number, seq);
                row.late.push(late_entry(held, rule, with));
                self.rely_on(number, seq, row)?;
            } else {
                if passed {
                    row.late.push(late_entry(held, rule, None));
                }
                open.push(held);
            }
        }
        let mut all = !open.is_empty();
        for held in &open {
            match self.heir_of(number, held)? {
                Some(heir) => {
                    heirs.insert(heir);
                }
                None => all = false,
            }
        }
        if all {
            // The till was restored or cloned, and who goes on has closed the day.
            if row.state != ProofState::Failed {
                (row.state, row.notice) = (ProofState::Proved, None);
            }
            for (heir, seq) in heirs {
                self.rely_on(heir, seq, row)?;
                let label = self.lanes.iter().find(|lane| lane.number == heir);
                row.notice = label.map(|lane| format!("closed by {}/{}", lane.shop, lane.lane));
            }
        } else if passed && !open.is_empty() && row.state == ProofState::Proved {
            let waits = "sales of this day wait for the next closure";
            (row.state, row.notice) = (ProofState::Open, Some(waits.to_owned()));
        }
        row.found = takings(open.into_iter());
        Ok(())
    }

    /// A row is no better than the closure that its sales belong to.
    fn rely_on(&mut self, number: i64, seq: i64, row: &mut ProofRow) -> Result<(), StoreError> {
        let proved = self
            .judge(number, seq)?
            .is_some_and(|judged| judged.findings.is_empty());
        if !proved && row.state != ProofState::Failed {
            row.state = ProofState::Failed;
            row.findings.push(ProofFinding {
                kind: "not_proved".to_owned(),
                seq: Some(seq),
                receipt: None,
                detail: "the closure that its sales belong to is not proved".to_owned(),
            });
        }
        Ok(())
    }

    /// The last closure before the day, and when the lane's days begin.
    fn base(&mut self, number: i64) -> Result<(Option<Closure>, DayRule), StoreError> {
        let (day, book) = (self.day, self.books.get(&number));
        let before = book.and_then(|book| {
            let mut before = book.closures.iter().rev();
            before.find(|(_, (_, at))| *at < day).map(|(seq, _)| *seq)
        });
        let closure = match before {
            Some(seq) => self.judge(number, seq)?.map(|it| it.closure.clone()),
            None => None,
        };
        let rule = match &closure {
            Some(closure) => closure.rule,
            None => self.rule_of_shop(number)?,
        };
        Ok((closure, rule))
    }

    /// When the days begin of a lane that has closed none yet: as at any other lane of its shop; by UTC
    /// when there is none.
    fn rule_of_shop(&mut self, number: i64) -> Result<DayRule, StoreError> {
        let shop = self
            .lanes
            .iter()
            .find(|lane| lane.number == number)
            .map(|lane| lane.shop_id);
        let kin = self.lanes.iter().filter(|lane| Some(lane.shop_id) == shop);
        let closures: Vec<_> = std::iter::once(number)
            .chain(kin.map(|lane| lane.number))
            .filter_map(|lane| Some((lane, *self.books.get(&lane)?.closures.keys().next()?)))
            .collect();
        for (lane, seq) in closures {
            if let Some(judged) = self.judge(lane, seq)? {
                return Ok(judged.closure.rule);
            }
        }
        Ok(DayRule::default())
    }

    /// Receipts that are counted with this node.
    fn own(&self, number: i64, range: Range) -> Result<Vec<Held>, StoreError> {
        let Some(book) = self.books.get(&number) else {
            return Ok(Vec::new());
        };
        let all = book.receipts(self.hub, range)?;
        Ok(all
            .into_values()
            .filter(|held| held.owner == number)
            .collect())
    }

    /// The first closure of a book that reaches a receipt.
    fn closure_of(&mut self, number: i64, held: &Held) -> Result<Option<i64>, StoreError> {
        let (seq, at_ms) = (held.counted.seq, held.counted.at_ms);
        let Some(book) = self
            .books
            .get(&number)
            .filter(|book| book.holds(held.owner, seq))
        else {
            return Ok(None);
        };
        let behind: Vec<i64> = book.closures.range(seq..).map(|(seq, _)| *seq).collect();
        for closure in behind {
            let judged = self.judge(number, closure)?;
            if judged.is_some_and(|it| it.closure.reaches(seq, at_ms)) {
                return Ok(Some(closure));
            }
        }
        Ok(None)
    }

    /// Another node whose book holds the receipt and has closed its day.
    fn heir_of(&mut self, number: i64, held: &Held) -> Result<Option<(i64, i64)>, StoreError> {
        let others = self.books.values().filter(|book| book.node != number);
        let holders: Vec<i64> = others
            .filter(|book| book.holds(held.owner, held.counted.seq))
            .map(|book| book.node)
            .collect();
        for heir in holders {
            if let Some(seq) = self.closure_of(heir, held)? {
                return Ok(Some((heir, seq)));
            }
        }
        Ok(None)
    }

    fn day_of(&self, number: i64, seq: i64) -> Option<Day> {
        let closures = &self.books.get(&number)?.closures;
        closures.get(&seq).map(|(_, day)| *day)
    }
}

fn blank(lane: &Lane, state: ProofState) -> ProofRow {
    ProofRow {
        node_id: lane.node,
        shop_id: lane.shop_id,
        shop: lane.shop.clone(),
        lane: lane.lane,
        state,
        notice: None,
        found: Takings::default(),
        elsewhere: Takings::default(),
        closure: None,
        findings: Vec::new(),
        late: Vec::new(),
    }
}
