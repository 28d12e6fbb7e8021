//! What the README says about settings is what the program declares.

use std::path::Path;

const BEGIN: &str = "<!-- settings -->\n";
const END: &str = "<!-- /settings -->";

#[test]
fn the_settings_of_the_readme_are_the_declared_ones() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("README.md has the line <!-- settings -->");
    let (_, after) = rest.split_once(END).expect("README.md has the line <!-- /settings -->");
    let expected = format!("{before}{BEGIN}{}{END}{after}", podtap::settings::markdown());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, expected).unwrap();
    } else {
        assert!(readme == expected, "the settings in README.md are out of date: UPDATE=1 cargo test --test it readme");
    }
}
