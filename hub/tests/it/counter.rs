//! A till that keeps an account of its receipts, and closes its days.

use crate::hub::Client;
use crate::till::Till;
use counterfoil_domain::closure::{Counted, Day, DayRule, SealKey, Takings};
use counterfoil_domain::document::{Receipt, Tender};
use counterfoil_domain::{Closure, Document, DocumentId};

pub(crate) const MONDAY: &str = "2011-03-07";
pub(crate) const TUESDAY: &str = "2011-03-08";

pub(crate) fn day(text: &str) -> Day {
    text.parse().unwrap()
}

/// A till whose account the test keeps.
pub(crate) struct Counter {
    pub(crate) till: Till,
    pub(crate) number: i64,
    pub(crate) series: &'static str,
    last: Option<Closure>,
    open: Vec<Counted>,
}

impl Counter {
    pub(crate) async fn of(client: &Client, shop: &str, seed: u64) -> Self {
        Self::at(Till::of(client, shop, seed).await)
    }

    pub(crate) fn at(till: Till) -> Self {
        Self {
            till,
            number: 0,
            series: "L1",
            last: None,
            open: Vec::new(),
        }
    }

    /// Sells for 5.00 and a little more each time; its number.
    pub(crate) fn sell(&mut self, date: &str, tender: Tender) -> i64 {
        self.sell_as(date, tender, |_| {})
    }

    /// A sale that the till recorded in its own way.
    pub(crate) fn sell_as(
        &mut self,
        date: &str,
        tender: Tender,
        change: impl FnOnce(&mut Receipt),
    ) -> i64 {
        let mut receipt = self.receipt(date, 2);
        receipt.payments[0].tender = tender;
        change(&mut receipt);
        self.record(Document::Sale(receipt));
        self.number
    }

    /// A receipt with the next number.
    pub(crate) fn receipt(&mut self, date: &str, lines: usize) -> Receipt {
        let mut receipt = self.till.receipt(lines);
        self.number += 1;
        receipt.series = self.series.to_owned();
        receipt.number = self.number;
        receipt.at_ms = DayRule::default().start_ms(day(date)) + 1_000 * self.number;
        receipt
    }

    pub(crate) fn refund(&mut self, date: &str) {
        self.take_back(date, None);
    }

    /// A refund of one line; its place in the journal, and what was recorded.
    pub(crate) fn take_back(
        &mut self,
        date: &str,
        refund_of: Option<DocumentId>,
    ) -> (i64, DocumentId, Receipt) {
        let mut receipt = self.receipt(date, 1);
        receipt.refund_of = refund_of;
        receipt.total_minor = -receipt.total_minor;
        receipt.payments[0].amount_minor = receipt.total_minor;
        receipt.lines[0].quantity.milli = -receipt.lines[0].quantity.milli;
        receipt.lines[0].amount_minor = receipt.total_minor;
        let (seq, id) = self.record(Document::Refund(receipt.clone()));
        (seq, id, receipt)
    }

    /// Records a receipt and counts it; its place in the journal.
    pub(crate) fn record(&mut self, document: Document) -> (i64, DocumentId) {
        let (seq, id, _) = self.till.record(&document);
        let (refund, receipt): (bool, Receipt) = match document {
            Document::Sale(receipt) => (false, receipt),
            Document::Refund(receipt) => (true, receipt),
            other => unreachable!("{other:?}"),
        };
        self.open.push(Counted {
            seq,
            refund,
            series: receipt.series,
            number: receipt.number,
            at_ms: receipt.at_ms,
            total_minor: receipt.total_minor,
            payments: receipt
                .payments
                .iter()
                .map(|it| (it.tender, it.amount_minor))
                .collect(),
        });
        (seq, id)
    }

    pub(crate) fn closure(&mut self, date: &str) -> Closure {
        let (rule, date) = (DayRule::default(), day(date));
        let (covered, rest): (Vec<_>, Vec<_>) = self
            .open
            .drain(..)
            .partition(|it| it.at_ms < rule.end_ms(date));
        self.open = rest;
        let late = covered
            .iter()
            .filter(|it| it.at_ms < rule.start_ms(date))
            .count();
        let mut closure = Closure {
            node: self.till.id,
            trial: false,
            day: date,
            rule,
            first_seq: self.last.as_ref().map_or(1, |last| last.last_seq + 1),
            last_seq: self.till.seq,
            currency: "GBP".parse().unwrap(),
            takings: Takings::of(&covered).unwrap(),
            late: i64::try_from(late).unwrap(),
            ahead: i64::try_from(self.open.len()).unwrap(),
            head: self.till.chain,
            at_ms: rule.end_ms(date),
            seal: None,
        };
        closure.seal = Some(self.key().seal(&closure));
        self.last = Some(closure.clone());
        closure
    }

    pub(crate) fn key(&self) -> SealKey {
        use sha2::Digest as _;
        SealKey::of_token_hash(&sha2::Sha256::digest(self.till.token.as_bytes()).into())
    }

    pub(crate) fn close(&mut self, date: &str) {
        let closure = self.closure(date);
        self.till.record(&Document::Closure(closure));
    }

    pub(crate) async fn deliver(&self, client: &Client) {
        self.till.push(client).await.unwrap();
        client.settle().await;
        self.till.hello(client).await;
    }
}
