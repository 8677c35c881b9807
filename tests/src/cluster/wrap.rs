//! What a process of a test is started under: variables, libraries, other programs.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::Command,
};

use super::place::Place;

/// Nothing at first. Where words hold `{dir}`, it becomes the process's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Wrap {
    programs: Vec<Vec<String>>,
    libraries: Vec<PathBuf>,
    environment: Vec<(String, String)>,
}

impl Wrap {
    /// With this variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// With this library in front of all others (`LD_PRELOAD`); those named first come first.
    #[must_use]
    pub fn preload(mut self, library: &Path) -> Self {
        self.libraries.push(library.to_owned());
        self
    }

    /// By this program with these arguments, which puts the process in its own place (exec), so
    /// that the id is the process's.
    #[must_use]
    pub fn under<T: Into<String>>(mut self, words: impl IntoIterator<Item = T>) -> Self {
        self.programs
            .push(words.into_iter().map(Into::into).collect());
        self
    }

    /// With what the other one has, too.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.programs.extend(other.programs);
        self.libraries.extend(other.libraries);
        self.environment.extend(other.environment);
        self
    }

    /// The program, to be run in this place, with this folder for what is written `{dir}`.
    pub fn command(&self, place: &Place, program: impl AsRef<OsStr>, folder: &Path) -> Command {
        let folder = folder.display().to_string();
        let put = |text: &String| text.replace("{dir}", &folder);
        let mut words: Vec<OsString> = place.entry().into_iter().map(Into::into).collect();
        let programs = self.programs.iter().flatten();
        words.extend(programs.map(|word| put(word).into()));
        // The programs before it are not to have its variables: a library may act on its start.
        if !self.libraries.is_empty() || !self.environment.is_empty() {
            words.push("env".into());
        }
        if !self.libraries.is_empty() {
            let paths = self.libraries.iter().map(|path| path.display().to_string());
            let paths = paths.collect::<Vec<_>>().join(":");
            words.push(format!("LD_PRELOAD={paths}").into());
        }
        let environment = self.environment.iter();
        words.extend(environment.map(|(name, value)| format!("{name}={}", put(value)).into()));
        words.push(program.as_ref().to_owned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(wrap: &Wrap, place: &Place, expected: &str) {
        let command = wrap.command(place, "gatemq", Path::new("/folder"));
        let words = [command.get_program()]
            .into_iter()
            .chain(command.get_args());
        let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
        assert_eq!(words.join(" "), expected);
    }

    #[test]
    fn the_program_comes_last_and_its_variables_just_before() {
        let usual = Place::default();
        check(&Wrap::default(), &usual, "gatemq");
        let wrap = Wrap::default()
            .env("DATA", "{dir}/data")
            .preload(Path::new("/one.so"));
        let expected = "env LD_PRELOAD=/one.so DATA=/folder/data gatemq";
        check(&wrap, &usual, expected);
        let both = Wrap::default()
            .under(["prlimit", "--nofile=64"])
            .preload(Path::new("/zero.so"))
            .and(wrap);
        let expected = "nsenter --net=/run/netns/there -- prlimit --nofile=64 \
                        env LD_PRELOAD=/zero.so:/one.so DATA=/folder/data gatemq";
        let there = Place::in_namespace([10, 77, 0, 2].into(), "there");
        check(&both, &there, expected);
        assert!(!there.is_usual() && usual.is_usual());
    }
}
