//! Memory that only the start needed, given back: freed heap, and pages of the program's own code.
//!
//! Owns none of it. What is given back and needed later comes back by itself.

use std::path::Path;

/// Gives heap memory that was freed back to the machine: to load a BPF program takes tens of megabytes for a moment.
pub fn give_back_heap() {
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code, reason = "std has no malloc_trim(3)")]
    // SAFETY: takes no pointers.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Takes the program's code out of this process: most of what was mapped so far belongs to the start. The file's pages stay in
/// the page cache, shared by all who run it, and what runs again is mapped again. The number of bytes says how much lay there.
pub fn give_back_code() -> usize {
    let (Ok(mappings), Ok(program)) = (std::fs::read("/proc/self/smaps"), std::fs::read_link("/proc/self/exe")) else {
        return 0;
    };
    let ranges = unchanged_code(&String::from_utf8_lossy(&mappings), &program);
    for (start, length) in &ranges {
        #[allow(unsafe_code, reason = "std has no madvise(2)")]
        // SAFETY: the range is code of this program's file, mapped as long as the process lives. None of its pages was changed,
        // so each comes back from the file with the bytes that it had.
        unsafe {
            libc::madvise(std::ptr::without_provenance_mut(*start), *length, libc::MADV_DONTNEED);
        }
    }
    ranges.iter().map(|(_, length)| length).sum()
}

/// Start and length of what is mapped from the program to be executed, and was never written to.
fn unchanged_code(mappings: &str, program: &Path) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut candidate = None;
    for line in mappings.lines() {
        if let Some(range) = mapping(line) {
            let is_code = line.contains(" r-xp ") && line.ends_with(&format!(" {}", program.display()));
            candidate = Some(range).filter(|_| is_code);
        } else if let Some(changed) = line.strip_prefix("Anonymous:") {
            // Relocated, or with a debugger's breakpoints.
            found.extend(candidate.take().filter(|_| changed.trim() == "0 kB"));
        }
    }
    found
}

/// Start and length of the first line of a mapping: `55d0…-55d1… r-xp 0006f000 fe:00 1234  /usr/local/bin/podtap`.
fn mapping(line: &str) -> Option<(usize, usize)> {
    let (start, end) = line.split_once(' ')?.0.split_once('-')?;
    let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    Some((start, end.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
1000-3000 r--p 00000000 fe:00 77                 /bin/podtap
Anonymous:             0 kB
3000-9000 r-xp 00002000 fe:00 77                 /bin/podtap
Rss:                  24 kB
Anonymous:             0 kB
AnonHugePages:         0 kB
9000-a000 r--p 00008000 fe:00 77                 /bin/podtap
Anonymous:             4 kB
a000-b000 r-xp 00000000 fe:00 78                 /lib/libc.so.6
Anonymous:             0 kB
b000-d000 r-xp 00002000 fe:00 77                 /bin/podtap
Anonymous:             4 kB
f000-10000 r-xp 00000000 00:00 0                 [vdso]
Anonymous:             0 kB
";

    #[test]
    fn only_the_programs_own_unchanged_code_is_given_back() {
        for (program, expected) in [
            ("/bin/podtap", vec![(0x3000, 0x6000)]),
            ("/lib/libc.so.6", vec![(0xa000, 0x1000)]),
            ("podtap", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(unchanged_code(SMAPS, Path::new(program)), expected, "{program}");
        }
        for text in ["", "x", "3000-2000 r-xp 0 fe:00 77 /bin/podtap\nAnonymous: 0 kB", "Anonymous: 0 kB"] {
            assert_eq!(unchanged_code(text, Path::new("/bin/podtap")), [], "{text}");
        }
    }

    #[test]
    fn the_code_of_this_program_is_found_and_runs_on() {
        assert!(give_back_code() > 1 << 20);
        assert!(give_back_code() > 1 << 20);
    }
}
