use super::*;

fn day(text: &str) -> Day {
    text.parse().expect("a day")
}

#[test]
fn days_are_read_as_they_are_written_and_nonsense_is_refused() {
    for (text, number) in [
        ("1970-01-01", 0),
        ("2011-03-04", 15_037),
        ("2024-02-29", 19_782),
        ("1969-12-31", -1),
        ("0000-01-01", -719_528),
        ("9999-12-31", 2_932_896),
    ] {
        assert_eq!(day(text).number(), number, "{text}");
        assert_eq!(Day::from_number(number).to_string(), text);
    }
    for text in [
        "",
        "2011-3-4",
        "2011-02-30",
        "2011-13-01",
        "20110304",
        "2011-03-04-05",
        "x-y-z",
    ] {
        assert!(text.parse::<Day>().is_err(), "{text}");
    }
}

#[test]
fn every_day_of_eight_centuries_is_read_back() {
    for number in -100_000..200_000 {
        let found = Day::from_number(number);
        assert_eq!(day(&found.to_string()), found);
    }
}

#[test]
fn a_day_begins_at_the_cutoff_of_the_shops_own_clock() {
    // 02:30 UTC is 04:30 in Tartu, where the bar's day begins at five.
    let rule = DayRule {
        utc_offset_minutes: 120,
        cutoff_minutes: 5 * 60,
    };
    let monday = day("2024-02-26");
    let midnight = monday.number() * DAY_MS;
    assert_eq!(rule.day_of(midnight + 150 * MINUTE_MS), day("2024-02-25"));
    assert_eq!(rule.day_of(midnight + 180 * MINUTE_MS), monday);
    assert_eq!(rule.start_ms(monday), midnight + 180 * MINUTE_MS);
    assert_eq!(rule.day_of(rule.end_ms(monday) - 1), monday);
    assert_eq!(rule.day_of(rule.end_ms(monday)), day("2024-02-27"));
}

fn closure() -> Closure {
    Closure {
        node: NodeId::from_uuid(uuid::Uuid::from_u128(7)),
        trial: false,
        day: day("2024-02-29"),
        rule: DayRule::default(),
        first_seq: 1,
        last_seq: 9,
        currency: Currency::GBP,
        takings: Takings::default(),
        late: 0,
        ahead: 0,
        head: Chain::START,
        at_ms: 5,
        seal: None,
    }
}

#[test]
fn a_seal_covers_every_field_and_knows_its_key() {
    let key = SealKey::of_token_hash(&[1; 32]);
    let mut sealed = closure();
    assert!(!key.verifies(&sealed), "nobody sealed it");
    sealed.seal = Some(key.seal(&sealed));
    assert!(key.verifies(&sealed));
    assert!(!SealKey::of_token_hash(&[2; 32]).verifies(&sealed));
    let changes: [fn(&mut Closure); 6] = [
        |it| it.takings.total_minor += 1,
        |it| it.last_seq += 1,
        |it| it.day = Day::from_number(it.day.number() + 1),
        |it| it.trial = true,
        |it| it.rule.cutoff_minutes += 60,
        |it| it.seal = Some("no hash".to_owned()),
    ];
    for change in changes {
        let mut other = sealed.clone();
        change(&mut other);
        assert!(!key.verifies(&other), "{other:?}");
    }
}

#[test]
fn takings_add_up_in_any_order() {
    let receipt = |number, refund, total_minor| Counted {
        seq: number,
        refund,
        series: "L1".to_owned(),
        number,
        at_ms: 1,
        total_minor,
        payments: vec![(Tender::Cash, total_minor - 1), (Tender::Card, 1)],
    };
    let mut receipts = vec![
        receipt(4, false, 500),
        receipt(6, true, -200),
        receipt(5, false, 90),
    ];
    let takings = Takings::of(&receipts).expect("small");
    assert_eq!(
        (takings.sales, takings.refunds, takings.total_minor),
        (2, 1, 390)
    );
    assert_eq!(
        takings.tenders,
        [(Tender::Cash, 387), (Tender::Card, 3)].into()
    );
    let range = NumberRange {
        first: 4,
        last: 6,
        count: 3,
    };
    assert_eq!(takings.series, [("L1".to_owned(), range)].into());
    receipts.reverse();
    assert_eq!(Takings::of(&receipts), Ok(takings));
    receipts[0].total_minor = i64::MAX;
    assert_eq!(Takings::of(&receipts), Err(MoneyError::Overflow));
}
