use super::*;
use counterfoil_domain::Topic;
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

fn node(number: u128) -> NodeId {
    NodeId::from_uuid(Uuid::from_u128(number))
}

/// An entry whose chain value fits, by way of the domain's own rule.
fn entry(seq: i64, document: &str) -> LaneEntry {
    let head = counterfoil_domain::journal::EntryHead {
        seq,
        id: DocumentId::from_uuid(Uuid::from_u128(77)),
        hlc: Hlc::from_raw(7_234_567_890_123_456_789),
        topic: Topic::Sale,
    };
    LaneEntry {
        origin: node(5),
        seq,
        id: head.id,
        hlc: head.hlc,
        kind: head.topic.code(),
        before: Chain::START,
        chain: Chain::START.next(&head, document.as_bytes()),
        document: document.to_owned(),
    }
}

fn refused(text: &str) -> String {
    let error = read(text).expect_err("no frame");
    error.to_string()
}

#[test]
fn an_entry_has_the_form_that_others_read() {
    let written = write_entry(&entry(1, r#"{"topic":"sale"}"#)).expect("short");
    let value: Value = serde_json::from_str(&written).expect("JSON");
    assert_eq!(value["fromTerminal"], node(5).to_string());
    assert_eq!(value["topic"], "transaction");
    assert_eq!(value["timestamp"], 7_234_567_890_123_456_789_i64 >> 16);
    assert_eq!(value["payload"]["hlc"], "7234567890123456789");
    assert_eq!(value["payload"]["document"], r#"{"topic":"sale"}"#);
    let ack = Control::Ack {
        message_id: DocumentId::from_uuid(Uuid::from_u128(77)),
    };
    let written: Value = serde_json::from_str(&write(&ack).expect("short")).expect("JSON");
    let id = "00000000-0000-0000-0000-00000000004d";
    assert_eq!(written, json!({"type": "ack", "messageId": id}));
}

#[test]
fn an_entry_that_was_changed_on_its_way_is_refused() {
    let whole = write_entry(&entry(1, "tea")).expect("short");
    assert!(matches!(read(&whole), Ok(Frame::Entry(_))));
    let changed = whole.replace("\"tea\"", "\"milk\"");
    assert!(refused(&changed).contains("does not fit its chain value"));
    let other_seq = whole.replace("\"seq\":1", "\"seq\":2");
    assert!(refused(&other_seq).contains("does not fit"));
    let other_time = whole.replace("\"timestamp\":", "\"timestamp\":1");
    assert!(refused(&other_time).contains("timestamp"));
}

#[test]
fn what_a_newer_lane_says_is_passed_over() {
    for text in [
        r#"{"type":"stock_levels","levels":[1]}"#,
        r#"{"id":"x","topic":"inventory.recount","payload":{}}"#,
        r#"{"type":"dance","topic":"transaction"}"#,
    ] {
        assert_eq!(read(text).expect("passed over"), Frame::Unknown, "{text}");
    }
}

#[test]
fn an_event_is_a_message_with_the_topic_that_others_know() {
    let text = json!({"id": node(7), "fromTerminal": node(1), "timestamp": 9,
        "topic": "inventory.reconciliation.complete", "payload": {"differing": 3, "corrected": 2, "open": 1}});
    let Ok(Frame::Event(said)) = read(&text.to_string()) else {
        panic!("an event");
    };
    let (differing, corrected, open) = (3, 2, 1);
    let event = ReconciliationEvent::Complete {
        differing,
        corrected,
        open,
    };
    assert_eq!((said.from_terminal, &said.event), (node(1), &event));
    assert!(text["topic"] == event.topic());
    let written: Value =
        serde_json::from_str(&write_event(&said).expect("short")).expect("a document");
    assert_eq!(written, text);
    let request = ReconciliationEvent::Request { products: 5 };
    let said = EventMessage {
        event: request,
        ..said
    };
    let read_back = read(&write_event(&said).expect("short"));
    assert_eq!(read_back.expect("an event"), Frame::Event(said));
    let other = r#"{"topic":"inventory.reconciliation.request","payload":{"products":5}}"#;
    assert_eq!(read(other).expect("passed over"), Frame::Unknown);
}

#[test]
fn nonsense_is_refused_with_words() {
    let origin = node(1);
    let point = |seq: i64| json!({"seq": seq, "chain": "00".repeat(32)});
    let holds = |begin: i64, end: i64| {
        json!({"type": "holds", "holds": [{"origin": origin, "begin": point(begin), "end": point(end)}]})
            .to_string()
    };
    assert!(read(&holds(1, 3)).is_ok());
    let many = vec![json!({"origin": origin, "begin": point(0), "end": point(0)}); ORIGINS_MAX + 1];
    for (text, says) in [
        (String::new(), "not a frame"),
        ("[]".to_owned(), "not a frame"),
        ("{}".to_owned(), "type"),
        (r#"{"type":"ack"}"#.to_owned(), "not a frame"),
        (r#"{"topic":"transaction"}"#.to_owned(), "not a frame"),
        (holds(3, 1), "end"),
        (holds(-1, 1), "end"),
        (json!({"type": "holds", "holds": many}).to_string(), "holds"),
        (
            json!({"type": "want", "origin": origin, "after": -1}).to_string(),
            "after",
        ),
        (" ".repeat(FRAME_BYTES_MAX + 1), "is the most"),
        ("[".repeat(200_000), "not a frame"),
    ] {
        let said = refused(&text);
        assert!(said.contains(says), "{says}: {said}");
    }
}

#[test]
fn what_a_peer_says_to_people_is_short_and_only_words() {
    let detail = format!("\u{1b}[2Jno\n{}", "x".repeat(5_000));
    let told = json!({"type": "refused", "code": "malformed", "detail": detail}).to_string();
    let Ok(Frame::Control(Control::Refused { detail, .. })) = read(&told) else {
        panic!("a refusal");
    };
    assert_eq!(detail.chars().count(), DETAIL_CHARS_MAX);
    assert!(detail.starts_with("[2Jnox"), "{detail}");
}

#[test]
fn an_entry_that_fits_into_no_frame_is_not_sent() {
    let large = entry(1, &"x".repeat(FRAME_BYTES_MAX));
    assert!(matches!(write_entry(&large), Err(FrameError::TooLong(_))));
}

#[test]
fn a_refusal_for_a_reason_that_only_a_newer_lane_knows_is_a_refusal() {
    let text = r#"{"type":"refused","code":"too_wet","detail":"it rains"}"#;
    let Ok(Frame::Control(Control::Refused { code, detail })) = read(text) else {
        panic!("it is understood");
    };
    assert_eq!((code, detail.as_str()), (RefusalCode::Unknown, "it rains"));
}

proptest! {
    #[test]
    fn an_entry_arrives_as_it_was_sent(seq in 1..i64::MAX, document in ".*") {
        let sent = entry(seq, &document);
        let text = write_entry(&sent).expect("short");
        prop_assert_eq!(read(&text).expect("a frame"), Frame::Entry(sent));
    }

    #[test]
    fn no_text_brings_it_down(text in ".*", cut in any::<prop::sample::Index>(), byte in any::<u8>()) {
        read(&text).ok();
        // A frame that was damaged is closer to one than any text.
        let mut bytes = write_entry(&entry(1, &text)).expect("short").into_bytes();
        let place = cut.index(bytes.len());
        bytes[place] = byte;
        if let Ok(damaged) = String::from_utf8(bytes)
            && let Ok(Frame::Entry(entry)) = read(&damaged)
        {
            prop_assert!(entry.is_whole());
        }
    }
}
