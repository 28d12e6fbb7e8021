//! As much of Kibana's query language as the file uses, as Kibana turns it into a query. A quoted value is a phrase, and
//! `*` asks whether the field exists. Anything else fails.

use serde_json::{Value, json};

/// The query that Kibana would send.
pub(super) fn query(kql: &str) -> Value {
    let mut tokens = tokens(kql);
    tokens.reverse();
    if tokens.is_empty() {
        return json!({ "match_all": {} });
    }
    let query = either(&mut tokens);
    assert!(tokens.is_empty(), "{kql}: left over {tokens:?}");
    query
}

fn tokens(kql: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut letters = kql.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            ' ' => {}
            '(' | ')' | ':' | '*' => tokens.push(letter.to_string()),
            '<' | '>' => {
                tokens.push(if letters.next_if_eq(&'=').is_some() { format!("{letter}=") } else { letter.into() })
            }
            '"' => {
                let mut phrase = String::from("\"");
                loop {
                    match letters.next().expect("a closing quote") {
                        '\\' => phrase.extend(letters.next()),
                        '"' => break,
                        other => phrase.push(other),
                    }
                }
                tokens.push(phrase);
            }
            _ => {
                let mut word = String::from(letter);
                while let Some(more) = letters.next_if(|c| c.is_alphanumeric() || "._@-".contains(*c)) {
                    word.push(more);
                }
                tokens.push(word);
            }
        }
    }
    tokens
}

fn next_is(tokens: &mut Vec<String>, word: &str) -> bool {
    let is = tokens.last().is_some_and(|token| token == word);
    if is {
        tokens.pop();
    }
    is
}

/// `and` binds closer than `or`.
fn either(tokens: &mut Vec<String>) -> Value {
    let mut all = vec![both(tokens)];
    while next_is(tokens, "or") {
        all.push(both(tokens));
    }
    if all.len() == 1 { all.remove(0) } else { json!({ "bool": { "should": all, "minimum_should_match": 1 } }) }
}

fn both(tokens: &mut Vec<String>) -> Value {
    let mut all = vec![one(tokens)];
    while next_is(tokens, "and") {
        all.push(one(tokens));
    }
    if all.len() == 1 { all.remove(0) } else { json!({ "bool": { "filter": all } }) }
}

fn one(tokens: &mut Vec<String>) -> Value {
    if next_is(tokens, "not") {
        return json!({ "bool": { "must_not": one(tokens) } });
    }
    if next_is(tokens, "(") {
        let inner = either(tokens);
        assert!(next_is(tokens, ")"), "an open bracket");
        return inner;
    }
    let field = tokens.pop().expect("a field");
    let operator = tokens.pop().expect("an operator");
    let value = tokens.pop().expect("a value");
    let number = || value.parse::<u64>().unwrap_or_else(|_| panic!("{value} is no number"));
    match (operator.as_str(), value.strip_prefix('"')) {
        (":", Some(phrase)) => json!({ "match_phrase": { field: phrase } }),
        (":", None) if value == "*" => json!({ "exists": { "field": field } }),
        (">=", None) => json!({ "range": { field: { "gte": number() } } }),
        ("<", None) => json!({ "range": { field: { "lt": number() } } }),
        other => panic!("{other:?} is not known here"),
    }
}

#[test]
fn queries_are_read_as_kibana_reads_them() {
    let phrase = |field: &str, value: &str| json!({ "match_phrase": { field: value } });
    let exists = |field: &str| json!({ "exists": { "field": field } });
    for (kql, expected) in [
        ("", json!({ "match_all": {} })),
        ("a.b : \"x \\\"y\\\\\"", phrase("a.b", "x \"y\\")),
        ("not a : *", json!({ "bool": { "must_not": exists("a") } })),
        (
            "a >= 200 and a < 300",
            json!({ "bool": { "filter": [{ "range": { "a": { "gte": 200 } } }, { "range": { "a": { "lt": 300 } } }] } }),
        ),
        (
            "a : \"1\" or (b : * and (not c : *))",
            json!({ "bool": { "should": [phrase("a", "1"), { "bool": { "filter": [exists("b"), { "bool": { "must_not": exists("c") } }] } }], "minimum_should_match": 1 } }),
        ),
    ] {
        assert_eq!(query(kql), expected, "{kql}");
    }
}
