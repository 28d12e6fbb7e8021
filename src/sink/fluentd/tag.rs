//! FLUENTD_TAG and its placeholders. Owns no values: who has them is asked.

/// Used where a value is not known: an empty part would make a tag that no `match` expects.
const UNKNOWN: &str = "unknown";

/// Replaces `{name}` in `template` by what `value` knows, `unknown` where it knows nothing; a name not in `names` is a
/// mistake. There is no way to write a brace: no tag has one.
pub fn expand_tag<'v>(
    template: &str,
    names: &[&str],
    value: impl Fn(&str) -> Option<&'v str>,
) -> Result<String, String> {
    let mut tag = String::new();
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once('{') {
        let (name, after) = behind.split_once('}').ok_or("a { without }")?;
        if !names.contains(&name) {
            return Err(format!("{{{name}}} is not a placeholder; there are {}", list(names)));
        }
        tag.push_str(before);
        tag.push_str(value(name).filter(|value| !value.is_empty()).unwrap_or(UNKNOWN));
        rest = after;
    }
    tag.push_str(rest);
    match tag.chars().find(|c| *c == '}' || c.is_control() || c.is_whitespace()) {
        Some(odd) => Err(format!("a tag cannot hold {odd:?}")),
        None if tag.is_empty() => Err("the tag is empty".to_owned()),
        None => Ok(tag),
    }
}

fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("{{{name}}}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(template: &str) -> Result<String, String> {
        expand_tag(template, &["namespace", "pod", "node"], |name| match name {
            "namespace" => Some("shop"),
            "pod" => Some("cart-7f9f"),
            _ => None,
        })
    }

    #[test]
    fn placeholders_are_replaced_and_what_is_not_known_says_so() {
        for (template, tag) in [
            ("k8s-internal-networking", "k8s-internal-networking"),
            ("podtap.{namespace}.{pod}", "podtap.shop.cart-7f9f"),
            ("{namespace}{pod}", "shopcart-7f9f"),
            ("x.{node}.y", "x.unknown.y"),
        ] {
            assert_eq!(expand(template).unwrap(), tag);
        }
    }

    #[test]
    fn a_mistake_in_a_tag_is_an_error_at_start() {
        for (template, why) in [
            ("a.{Pod}", "{Pod} is not a placeholder; there are {namespace}, {pod}, {node}"),
            ("a.{pod", "a { without }"),
            ("a.pod}", "a tag cannot hold '}'"),
            ("a b", "a tag cannot hold ' '"),
            ("", "the tag is empty"),
        ] {
            assert_eq!(expand(template).unwrap_err(), why);
        }
    }
}
