//! How a service is judged.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How a service is judged while it runs. The default suits most.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Settings {
    /// The name of the service in reports and metrics. The default is that of its executable.
    pub service: String,
    /// The shortest window. A window takes the place of a cycle; what is live is compared window by window. The
    /// default is one minute.
    pub window: Duration,
    /// The fewest calls of [`Live::cycle`](crate::Live::cycle) in a window, if it is called at all. The default is
    /// 100.
    pub cycles: u64,
    /// The shortest time from one analysis to the next. An analysis runs in a helper process, because it reads
    /// debug information. The default is five minutes.
    pub analysis: Duration,
    /// Windows beyond which steady growth is a leak, if they take a day or more. The default is 64.
    pub horizon: u32,
    /// An address to listen at, for programs without an HTTP server of their own. The default is none. Whoever can
    /// reach it can read the names of functions and files: `127.0.0.1:0` and the like can be reached from this
    /// machine only.
    pub listen: Option<SocketAddr>,
    /// A folder for the report that is written, once, when the memory of the control group runs short. The default
    /// is none.
    pub report_folder: Option<PathBuf>,
    /// The share of the control group's memory limit at which that report is written. The default is 0.9.
    pub report_at: f64,
}

impl Default for Settings {
    fn default() -> Self {
        let executable = std::env::current_exe().ok();
        let name = executable.as_deref().and_then(|path| path.file_name());
        Self {
            service: name.map_or_else(
                || "service".into(),
                |name| name.to_string_lossy().into_owned(),
            ),
            window: Duration::from_secs(60),
            cycles: 100,
            analysis: Duration::from_secs(300),
            horizon: crate::model::verdict::DEFAULT_HORIZON,
            listen: None,
            report_folder: None,
            report_at: 0.9,
        }
    }
}

/// The methods set a field, so that settings can be made in one expression.
impl Settings {
    /// Sets [`Settings::service`].
    #[must_use]
    pub fn service(self, name: impl Into<String>) -> Self {
        Self {
            service: name.into(),
            ..self
        }
    }

    /// Sets [`Settings::window`].
    #[must_use]
    pub fn window(self, window: Duration) -> Self {
        Self { window, ..self }
    }

    /// Sets [`Settings::cycles`].
    #[must_use]
    pub fn cycles(self, cycles: u64) -> Self {
        Self { cycles, ..self }
    }

    /// Sets [`Settings::analysis`].
    #[must_use]
    pub fn analysis(self, analysis: Duration) -> Self {
        Self { analysis, ..self }
    }

    /// Sets [`Settings::horizon`].
    #[must_use]
    pub fn horizon(self, horizon: u32) -> Self {
        Self { horizon, ..self }
    }

    /// Sets [`Settings::listen`].
    #[must_use]
    pub fn listen(self, address: SocketAddr) -> Self {
        Self {
            listen: Some(address),
            ..self
        }
    }

    /// Sets [`Settings::report_folder`].
    #[must_use]
    pub fn report_folder(self, folder: impl Into<PathBuf>) -> Self {
        Self {
            report_folder: Some(folder.into()),
            ..self
        }
    }

    /// Sets [`Settings::report_at`].
    #[must_use]
    pub fn report_at(self, share: f64) -> Self {
        Self {
            report_at: share,
            ..self
        }
    }
}
