//! The two stages of an evaluation. They share the CSV files and nothing else, so that plots can be
//! drawn again later, and other tools can read the numbers.

use crate::plan::{self, Plan};
use crate::progress::Progress;
use crate::tables::{self, Fact, write};
use crate::target::{Place, Target};
use crate::{crashes, document, latency, load, machine, plots, replacement};
use std::fs;
use std::path::Path;
use std::time::Instant;

/// Runs every experiment of the plan, and writes the CSV files into `folder`.
pub fn measure(place: &Place, plan: &Plan, folder: &Path) -> Result<(), String> {
    let started = Instant::now();
    fs::create_dir_all(folder).map_err(|e| format!("cannot make {}: {e}", folder.display()))?;
    let mut progress = Progress::new(plan.estimate());
    let mut facts = machine::describe();
    facts.extend(plan.facts());
    let mut target = Target::open(place)?;
    facts.extend(target.facts());

    let near = latency::measure(&mut target, plan, 0, &mut progress)?;
    let far = latency::measure(&mut target, plan, plan.distance.as_millis(), &mut progress)?;
    let load = load::measure(&mut target, plan, &mut progress)?;
    let replacement = replacement::measure(&mut target, plan, &mut progress)?;
    // The crashes get a bazaar of their own: each round reads the whole files, and long files would
    // make that slow.
    let mut target = target.anew(place)?;
    let crashes = crashes::measure(&mut target, plan, &mut progress)?;
    drop(target);

    progress.step("computing the intervals", plan::COMPUTE);
    let (near, far) = (near.rows(), far.rows());
    write(folder, &[near.latency, far.latency].concat())?;
    write(folder, &[near.server, far.server].concat())?;
    write(folder, &[near.cache, far.cache].concat())?;
    write(folder, &load)?;
    write(folder, &replacement)?;
    write(folder, &crashes.rounds)?;
    write(folder, &crashes.timeline)?;
    write(folder, &crashes.events)?;
    facts.push(Fact::new(
        "took_s",
        &started.elapsed().as_secs().to_string(),
    ));
    write(folder, &facts)?;
    progress.end();
    Ok(())
}

/// Draws every plot into `folder`, and writes the document, from the CSV files in `folder`.
pub fn draw(folder: &Path, document: &Path) -> Result<(), String> {
    let measured = tables::Measured::read(folder)?;
    let plots = plots::draw(&measured)?;
    for (name, svg) in &plots {
        let path = folder.join(name);
        fs::write(&path, svg).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    }
    // The document may stand beside the folder or elsewhere; its links must fit both.
    let beside = document.parent().unwrap_or(Path::new(""));
    let link = folder
        .strip_prefix(beside)
        .unwrap_or(folder)
        .display()
        .to_string();
    let text = document::write(&measured, &link);
    fs::write(document, text).map_err(|e| format!("cannot write {}: {e}", document.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::Measured;

    /// The kept CSV files give exactly the kept document and plots: nobody changed them by hand,
    /// and nobody forgot to draw them again.
    #[test]
    fn the_kept_document_agrees_with_the_kept_numbers() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
        let measured = Measured::read(&docs.join("evaluation")).expect("every file is there");
        let kept = fs::read_to_string(docs.join("evaluation.md")).expect("a document");
        assert_eq!(
            kept,
            document::write(&measured, "evaluation"),
            "run 'make eval', or 'eval draw'"
        );
        let plots = plots::draw(&measured).expect("drawn");
        assert!(plots.len() >= 8, "{}", plots.len());
        for (name, svg) in plots {
            assert!(
                fs::read_to_string(docs.join("evaluation").join(name))
                    .is_ok_and(|kept| kept == svg),
                "{name} differs"
            );
        }
        assert!(
            measured.crashes.len() >= 10
                && measured.fact("clients") == "5"
                && measured.fact("profile") == "release"
        );
    }
}
