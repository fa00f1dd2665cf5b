//! `eval`: measures a bazaar, and makes plots and a document of what was measured. Measuring and
//! drawing know each other only by CSV files, so that figures can be drawn again, looked at with
//! other tools, and compared.
//!
//! | module | one idea |
//! |---|---|
//! | [`plan`] | what is measured, for how long, in which sequence |
//! | [`target`] | the bazaar that is measured: started here, or running elsewhere |
//! | [`worker`] | clients as processes of their own |
//! | [`latency`], [`load`], [`replacement`], [`crashes`] | the experiments |
//! | [`bootstrap`] | figures with intervals |
//! | [`scrape`] | what the front-end counts |
//! | [`tables`] | the CSV files |
//! | [`machine`] | what it was measured on |
//! | [`progress`] | how far it is, and the time left |
//! | [`plots`], [`document`] | drawings and text, from the CSV files alone |

pub mod bootstrap;
pub mod crashes;
pub mod document;
pub mod latency;
pub mod load;
pub mod machine;
pub mod plan;
pub mod plots;
pub mod progress;
pub mod replacement;
pub mod scrape;
pub mod tables;
pub mod target;
pub mod worker;

use plan::Plan;
use progress::Progress;
use std::fs;
use std::path::Path;
use std::time::Instant;
use tables::{Fact, write};
use target::{Place, Target};

/// Measures everything that the plan has, and writes the CSV files into `folder`.
///
/// # Errors
/// What could not be measured or written, in a sentence.
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
    // A bazaar of its own: the files are summed up after each round, and that takes longer the
    // longer they are.
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
///
/// # Errors
/// What could not be read, drawn or written.
pub fn draw(folder: &Path, document: &Path) -> Result<(), String> {
    let measured = tables::Measured::read(folder)?;
    let plots = plots::draw(&measured)?;
    for (name, svg) in &plots {
        let path = folder.join(name);
        fs::write(&path, svg).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    }
    // How the document, which stands beside the folder or elsewhere, names the pictures.
    let beside = document.parent().unwrap_or(Path::new(""));
    let link = folder
        .strip_prefix(beside)
        .unwrap_or(folder)
        .display()
        .to_string();
    let text = document::write(&measured, &link);
    fs::write(document, text).map_err(|e| format!("cannot write {}: {e}", document.display()))
}
