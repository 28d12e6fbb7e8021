//! Writes the seeds of a target into a folder: `seeds TARGET FOLDER`.

fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(target), Some(folder)) = (args.next(), args.next()) else {
        return Err(std::io::Error::other("usage: seeds TARGET FOLDER"));
    };
    std::fs::create_dir_all(&folder)?;
    for (number, seed) in podtap_fuzz::seeds::of(&target).into_iter().enumerate() {
        std::fs::write(format!("{folder}/seed-{number:02}"), seed)?;
    }
    Ok(())
}
