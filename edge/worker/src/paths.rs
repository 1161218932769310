//! Paths of requests as the configuration writes them.
//!
//! `{id}` stands for one segment, and a `*` at the end for any rest; everything else is as it is written.

/// Whether `path` is one that `pattern` stands for.
pub(crate) fn matches(pattern: &str, path: &str) -> bool {
    walk(pattern, path).is_some()
}

/// What stands in `path` where `pattern` has `{id}`, as it was before it was percent-encoded.
pub(crate) fn id(pattern: &str, path: &str) -> Option<String> {
    let segment = walk(pattern, path)??;
    Some(percent_encoding::percent_decode_str(segment).decode_utf8().ok()?.into_owned())
}

/// What is wrong with a pattern.
pub(crate) fn mistake(pattern: &str) -> Option<&'static str> {
    let holes = pattern.split('/').filter(|segment| *segment == HOLE).count();
    if pattern.strip_suffix('*').unwrap_or(pattern).contains('*') {
        Some("a `*` may only stand at the end")
    } else if pattern.matches(['{', '}']).count() != 2 * holes || holes > 1 {
        Some("braces may only stand in `{id}`, once, as a whole segment")
    } else if !pattern.starts_with('/') && pattern != "*" {
        Some("a path begins with `/`")
    } else {
        None
    }
}

/// Whether `{id}` is in a pattern.
pub(crate) fn has_id(pattern: &str) -> bool {
    pattern.contains(HOLE)
}

const HOLE: &str = "{id}";

/// The segment at `{id}`, if there is one; none at all if the path is another.
fn walk<'p>(pattern: &str, path: &'p str) -> Option<Option<&'p str>> {
    let (pattern, is_open) = pattern.strip_suffix('*').map_or((pattern, false), |start| (start, true));
    let Some((before, after)) = pattern.split_once(HOLE) else {
        let rest = path.strip_prefix(pattern)?;
        return (is_open || rest.is_empty()).then_some(None);
    };
    let rest = path.strip_prefix(before)?;
    let (segment, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let rest = rest.strip_prefix(after)?;
    (!segment.is_empty() && (is_open || rest.is_empty())).then_some(Some(segment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_matches_the_rest_and_nothing_else_does() {
        assert!(matches("/feed", "/feed") && matches("/feed/*", "/feed/7") && matches("*", "/"));
        assert!(!matches("/feed", "/feed/") && !matches("/feed/*", "/feed") && !matches("/feed", "/feedback"));
    }

    #[test]
    fn an_id_is_one_whole_segment() {
        assert!(matches("/users/{id}/feed", "/users/7/feed") && matches("/users/{id}/*", "/users/7/feed/2"));
        for path in ["/users/feed", "/users//feed", "/users/7/8/feed", "/users/7/feed/", "/users/7", "/user/7/feed"] {
            assert!(!matches("/users/{id}/feed", path), "{path}");
        }
        assert_eq!(id("/users/{id}/feed", "/users/a%40b.c/feed").as_deref(), Some("a@b.c"));
        assert_eq!(id("/users/{id}", "/users/7").as_deref(), Some("7"));
        assert_eq!(id("/users/{id}", "/users/%ff"), None, "not UTF-8");
        assert_eq!(id("/users/7", "/users/7"), None, "nothing says that it is an id");
    }

    #[test]
    fn a_pattern_that_could_not_mean_what_it_says_is_a_mistake() {
        for pattern in ["/feed", "/feed/*", "*", "/users/{id}/feed", "/users/{id}", "/{id}/*"] {
            assert_eq!(mistake(pattern), None, "{pattern}");
        }
        for pattern in ["feed", "", "/a/*/b", "/{user}", "/a{id}", "/{id}.json", "/{id}/{id}", "/{id", "/{id}*"] {
            assert!(mistake(pattern).is_some(), "{pattern}");
        }
    }
}
