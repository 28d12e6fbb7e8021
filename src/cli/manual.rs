//! `podtap completions` and `podtap man`: for packages and shells, from the same declaration as the command line itself.

use std::path::Path;
use std::process::ExitCode;

use clap_complete::{Shell, generate};

use super::{FAILED, said, tell};

/// What to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManualRequest {
    /// Completions for a shell, to standard output.
    Completions(Shell),
    /// The manual page of podtap, to standard output.
    Page,
    /// All manual pages, into a folder.
    Pages(std::path::PathBuf),
}

/// Shells that there are completions for.
pub(super) const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// The shell of that name.
pub(super) fn shell(name: &str) -> Option<Shell> {
    [Shell::Bash, Shell::Zsh, Shell::Fish].into_iter().find(|shell| shell.to_string() == name)
}

/// Writes it, of this command line.
pub fn run(manual: &ManualRequest, grammar: clap::Command) -> ExitCode {
    let written = match manual {
        ManualRequest::Completions(shell) => printed(&completions(*shell, grammar)),
        ManualRequest::Page => page(grammar).and_then(|page| printed(&page)),
        ManualRequest::Pages(folder) => pages(folder, grammar),
    };
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tell(&format!("podtap: {why}\n"));
            ExitCode::from(FAILED as u8)
        }
    }
}

fn printed(bytes: &[u8]) -> Result<(), String> {
    said(&mut std::io::stdout().lock(), &String::from_utf8_lossy(bytes))
}

fn completions(shell: Shell, mut grammar: clap::Command) -> Vec<u8> {
    let mut out = Vec::new();
    generate(shell, &mut grammar, "podtap", &mut out);
    out
}

fn page(command: clap::Command) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    clap_mangen::Man::new(command).render(&mut out).map_err(|why| why.to_string())?;
    Ok(out)
}

/// podtap.1, podtap-replay.1, and so on. Settings are in the first one and in that of `run`.
fn pages(folder: &Path, whole: clap::Command) -> Result<(), String> {
    std::fs::create_dir_all(folder).map_err(|why| format!("{}: {why}", folder.display()))?;
    let commands = whole.get_subcommands().filter(|command| !command.is_hide_set()).cloned().map(|command| {
        let name = format!("podtap-{}", command.get_name());
        (name.clone(), command.display_name(&name).name(name))
    });
    for (name, command) in commands.collect::<Vec<_>>().into_iter().chain([("podtap".to_owned(), whole)]) {
        let path = folder.join(format!("{name}.1"));
        std::fs::write(&path, page(command)?).map_err(|why| format!("{}: {why}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::grammar;
    use crate::settings::VARIABLES;

    #[test]
    fn every_shell_completes_every_command_and_every_setting() {
        for name in SHELLS {
            let text = String::from_utf8(completions(shell(name).unwrap(), grammar())).unwrap();
            for command in ["replay", "report", "view", "status", "settings"] {
                assert!(text.contains(command), "{name}: {command}");
            }
            for variable in VARIABLES {
                assert!(text.contains(&variable.flag()), "{name}: {}", variable.name);
            }
        }
        assert_eq!(shell("powershell"), None);
    }

    #[test]
    fn the_manual_has_a_page_for_each_command_and_all_settings() {
        let folder = std::env::temp_dir().join(format!("podtap-manual-{}", std::process::id()));
        pages(&folder, grammar()).unwrap();
        let text = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        let whole = text("podtap.1");
        for variable in VARIABLES {
            let flag = variable.flag().replace('-', "\\-");
            assert!(whole.contains(&flag), "{flag}");
        }
        assert!(text("podtap-view.1").contains("kubectl logs") && whole.starts_with(".ie"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
