//! What a description of an API must say.

use serde_json::Value;
use std::collections::BTreeSet;

/// Checks a description: it says everything, and is the one that is kept in `docs`, which `command` prints.
///
/// # Panics
/// When it leaves something unsaid, or is another one.
pub fn check(text: &str, kept: &str, command: &str) {
    assert_eq!(gaps(text), Vec::<String>::new());
    assert!(text == kept, "run: {command}");
}

/// Finds what a description (OpenAPI as JSON) leaves unsaid, one line each; empty when it is whole.
///
/// Looks at summaries, meanings of parameters, the answers of every call, ids that are used twice, and
/// references to nothing.
///
/// # Panics
/// When the text is not a description at all.
pub fn gaps(text: &str) -> Vec<String> {
    let api: Value = serde_json::from_str(text).expect("a description is JSON");
    let mut gaps = Vec::new();
    let mut ids = BTreeSet::new();
    for (path, item) in api["paths"].as_object().expect("a description has paths") {
        for (method, call) in item.as_object().expect("an address has calls") {
            let mut missing = |what: &str| gaps.push(format!("{method} {path}: {what}"));
            if call["summary"].as_str().unwrap_or_default().is_empty() {
                missing("does not say what it does");
            }
            if !ids.insert(call["operationId"].to_string()) {
                missing("has the id of another call");
            }
            for parameter in call["parameters"].as_array().into_iter().flatten() {
                if parameter["description"]
                    .as_str()
                    .unwrap_or_default()
                    .is_empty()
                {
                    missing(&format!("parameter {} has no meaning", parameter["name"]));
                }
            }
            let answers = call["responses"].as_object();
            if answers.is_none_or(|answers| !answers.keys().any(|status| status != "default")) {
                missing("has no answer");
            }
        }
    }
    let mut references = BTreeSet::new();
    gather(&api, &mut references);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap_or_default();
        if api.pointer(pointer).is_none() {
            gaps.push(format!("{reference} refers to nothing"));
        }
    }
    gaps
}

fn gather(value: &Value, references: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                references.insert(reference.clone());
            }
            members
                .values()
                .for_each(|member| gather(member, references));
        }
        Value::Array(items) => items.iter().for_each(|item| gather(item, references)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
