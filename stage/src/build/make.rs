//! Carrying recipes out.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

use super::recipe::{Part, Recipe, recipes, suite};
use super::stale::{Sources, mark, stale};
use super::{go, images, suite_image};
use crate::error::{Error, Result};
use crate::places::Places;
use crate::record::write_durably;
use crate::release::{Product, Release};

/// A sign of life, that often, while a program is compiled.
const SIGN_OF_LIFE: Duration = Duration::from_secs(20);

/// How long one program may take: kube-apiserver takes four minutes on two idle cores.
const PATIENCE: Duration = Duration::from_secs(3600);

/// What is being made is called so, and so is what a killed build has left.
const HALF: &str = ".building-";

/// The programs of a release that are not built from what there is now.
pub fn missing(places: &Places, release: &Release) -> Result<Vec<Recipe>> {
    missing_of(places, &recipes(release))
}

fn missing_of(places: &Places, recipes: &[Recipe]) -> Result<Vec<Recipe>> {
    Ok(stale(recipes, &sources(places)?, &marks(places, recipes)))
}

/// Builds what is missing. Two at a time do no harm: the second waits, and then finds everything built.
pub fn build(places: &Places, release: &Release, progress: &mut dyn FnMut(&str)) -> Result<()> {
    carry_out(places, release, &recipes(release), progress)
}

/// The same of Kubernetes' own end-to-end suite, after the cluster's programs, of which it takes some.
pub fn build_suite(places: &Places, release: &Release, progress: &mut dyn FnMut(&str)) -> Result<()> {
    build(places, release, progress)?;
    carry_out(places, release, &suite(release), progress)
}

fn carry_out(
    places: &Places,
    release: &Release,
    all: &[Recipe],
    progress: &mut dyn FnMut(&str),
) -> Result<()> {
    if missing_of(places, all)?.is_empty() {
        return Ok(());
    }
    for folder in [places.bin(), marks_at(places)] {
        fs::create_dir_all(&folder).map_err(Error::io(format!("making {}", folder.display())))?;
    }
    let lock = places.bin().join(".lock");
    let file = File::create(&lock).map_err(Error::io(format!("opening {}", lock.display())))?;
    let _lock = Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| Error::Kernel { what: format!("locking {}", lock.display()), errno })?;
    remove_halves(&places.bin())?;
    let sources = sources(places)?;
    let todo = stale(all, &sources, &marks(places, all));
    let toolchain = go::find(&places.target().join("go"), progress)?;
    let begun = Instant::now();
    for (at, recipe) in todo.iter().enumerate() {
        let title = format!("{}/{} {}", at + 1, todo.len(), recipe.name);
        progress(&format!("building {title}"));
        let mut still =
            || progress(&format!("building {title}, {} s since the start", begun.elapsed().as_secs()));
        // A compiler that outlived a killed build would write to another name.
        let half = places.bin().join(format!("{HALF}{}-{}", std::process::id(), recipe.name));
        make(places, release, &toolchain, recipe, &half, &mut still)?;
        let whole = places.bin().join(recipe.name);
        fs::rename(&half, &whole).map_err(Error::io(format!("putting {} in place", whole.display())))?;
        write_durably(&marks_at(places).join(recipe.name), mark(recipe, &sources).as_bytes())?;
    }
    Ok(())
}

fn make(
    places: &Places,
    release: &Release,
    toolchain: &Path,
    recipe: &Recipe,
    to: &Path,
    still: &mut dyn FnMut(),
) -> Result<()> {
    let folder = places.modules(recipe.product());
    let command = match &recipe.part {
        Part::Go { package, tags, stamps, .. } => {
            let mut command = go_command(toolchain, &folder);
            command.args(["build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-tags", tags]);
            command.args(["-ldflags", &format!("-s -w {stamps}"), "-o"]).arg(to).arg(package);
            command
        }
        Part::Pause => {
            let source =
                module_folder(toolchain, &folder, Product::Kubernetes)?.join("build/pause/linux/pause.c");
            let mut command = Command::new("cc");
            command.args(["-Os", "-s", "-static", &format!("-DVERSION={}", release.kubernetes), "-o"]);
            command.arg(to).arg(source);
            command
        }
        Part::Image(archive) => return images::pack(*archive, &places.bin(), to),
        Part::GoTest { package, stamps, .. } => {
            let mut command = go_command(toolchain, &folder);
            command.args(["test", "-c", "-mod=readonly", "-trimpath", "-buildvcs=false"]);
            command.args(["-ldflags", &format!("-s -w {stamps}"), "-o"]).arg(to).arg(package);
            command
        }
        Part::SuiteImage(archive) => {
            let sources = module_folder(toolchain, &folder, Product::Kubernetes)?;
            return suite_image::pack(*archive, &places.bin(), &sources, to);
        }
    };
    run(&command, recipe.name, still)
}

/// A build depends on nothing of the caller's settings but where modules come from.
fn go_command(toolchain: &Path, folder: &Path) -> Command {
    let mut command = Command::new(toolchain);
    command.current_dir(folder);
    for (name, value) in [("CGO_ENABLED", "0"), ("GOFLAGS", ""), ("GOTOOLCHAIN", "auto"), ("GOWORK", "off")] {
        command.env(name, value);
    }
    command
}

/// Where the sources of a product's module are.
fn module_folder(toolchain: &Path, folder: &Path, product: Product) -> Result<PathBuf> {
    let mut command = go_command(toolchain, folder);
    command.args(["mod", "download", product.module()]);
    run(&command, product.module(), &mut || ())?;
    let mut command = go_command(toolchain, folder);
    let output = command.args(["list", "-mod=readonly", "-m", "-f", "{{.Dir}}", product.module()]).output();
    let output = output.map_err(Error::io("running go list"))?;
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

fn remove_halves(bin: &Path) -> Result<()> {
    let what = || format!("tidying {}", bin.display());
    for entry in fs::read_dir(bin).map_err(Error::io(what()))? {
        let entry = entry.map_err(Error::io(what()))?;
        if entry.file_name().to_string_lossy().starts_with(HALF) {
            fs::remove_file(entry.path()).map_err(Error::io(what()))?;
        }
    }
    Ok(())
}

/// What the command says is shown when it fails. It ends when this program does.
fn run(command: &Command, name: &str, still: &mut dyn FnMut()) -> Result<()> {
    let mut said = nameless_file(name)?;
    let show = said.try_clone().map_err(Error::io("a log's second descriptor"))?;
    let mut child = dies_with_us(command)
        .stdin(Stdio::null())
        .stdout(show.try_clone().map_err(Error::io("a log's third descriptor"))?)
        .stderr(show)
        .spawn()
        .map_err(Error::io(format!("starting {}", command.get_program().display())))?;
    let begun = Instant::now();
    let mut signs = 0;
    let status = loop {
        if let Some(status) =
            child.try_wait().map_err(Error::io(format!("waiting for the build of {name}")))?
        {
            break status;
        }
        if begun.elapsed() > PATIENCE {
            // Fails only when it has ended.
            drop(child.kill());
            drop(child.wait());
            return Err(Error::Late {
                what: format!("{name} built"),
                seconds: PATIENCE.as_secs(),
                why: "its compiler was ended".to_owned(),
            });
        }
        if begun.elapsed() > SIGN_OF_LIFE * (signs + 1) {
            signs += 1;
            still();
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    if status.success() {
        return Ok(());
    }
    let mut words = String::new();
    std::io::Seek::rewind(&mut said)
        .and_then(|()| std::io::Read::read_to_string(&mut said, &mut words))
        .map_err(Error::io("reading what the build said"))?;
    Err(Error::Failed { what: format!("building {name}"), said: format!("{status}\n{}", words.trim()) })
}

/// The same command, killed when this program ends.
fn dies_with_us(command: &Command) -> Command {
    let mut bound = Command::new("setpriv");
    bound.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
    bound.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    bound.current_dir(command.get_current_dir().unwrap_or(Path::new(".")));
    bound
}

/// A file that is gone when it is closed.
fn nameless_file(name: &str) -> Result<File> {
    let path =
        std::env::temp_dir().join(format!("holdfast-stage-{}-{name}", std::process::id()).replace('/', "-"));
    let what = || format!("making {}", path.display());
    let file =
        File::options().create_new(true).read(true).write(true).open(&path).map_err(Error::io(what()))?;
    fs::remove_file(&path).map_err(Error::io(what()))?;
    Ok(file)
}

fn marks_at(places: &Places) -> PathBuf {
    places.bin().join(".built")
}

/// The marks of the programs that are there.
fn marks(places: &Places, recipes: &[Recipe]) -> BTreeMap<String, String> {
    let read = |recipe: &Recipe| {
        let mark = fs::read_to_string(marks_at(places).join(recipe.name)).ok()?;
        places.bin().join(recipe.name).is_file().then(|| (recipe.name.to_owned(), mark))
    };
    recipes.iter().filter_map(read).collect()
}

fn sources(places: &Places) -> Result<Sources> {
    let read = |product: Product| {
        let text = |name: &str| {
            let path = places.modules(product).join(name);
            fs::read_to_string(&path).map_err(Error::io(format!("reading {}", path.display())))
        };
        // Most products' programs are their modules' own.
        let own = places.modules(product).join("main.go").is_file().then(|| text("main.go")).transpose()?;
        Ok((product, [text("go.mod")?, text("go.sum")?].into_iter().chain(own).collect()))
    };
    Product::ALL.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_counts_only_with_its_file_and_its_mark() {
        let root = tempfile::tempdir().unwrap();
        let repository = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let release = Release::read(&repository.join("stage/go"), None).unwrap();
        std::os::unix::fs::symlink(repository.join("stage"), root.path().join("stage")).unwrap();
        let places = Places::new(root.path(), &release);
        let names = || -> Vec<&str> {
            missing(&places, &release).unwrap().into_iter().map(|recipe| recipe.name).collect()
        };
        let all = names();
        fs::create_dir_all(marks_at(&places)).unwrap();
        let sources = sources(&places).unwrap();
        let (ptp, etcd) = ("ptp", "etcd");
        for recipe in recipes(&release).iter().filter(|recipe| [ptp, etcd].contains(&recipe.name)) {
            fs::write(marks_at(&places).join(recipe.name), mark(recipe, &sources)).unwrap();
        }
        assert_eq!(names(), all, "marks alone are none");
        // Killed before it was put in place, or before its mark was written.
        for half in [".building-etcd", "containerd", "ptp"] {
            fs::write(places.bin().join(half), b"half").unwrap();
        }
        remove_halves(&places.bin()).unwrap();
        assert!(!places.bin().join(".building-etcd").exists() && places.bin().join("containerd").exists());
        let expected: Vec<&str> = all.iter().copied().filter(|name| *name != ptp).collect();
        assert_eq!(names(), expected);
    }

    #[test]
    fn what_a_failed_build_says_is_told() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; exit 3"]);
        let error = run(&command, "x", &mut || ()).unwrap_err().to_string();
        assert!(error.contains("building x") && error.contains("one\ntwo"), "{error}");
    }
}
