//! A model server. `POST /predict` runs the model. `POST /reload` loads its file again and replaces
//! the model; requests that run on the old model finish on it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

mod metrics;
mod model;

use metrics::Metrics;
use model::Loaded;
pub use model::PIXELS;

/// The state of the server: the current model and the gauges.
pub struct Server {
    path: PathBuf,
    model: ArcSwap<Loaded>,
    version: AtomicU64,
    metrics: Metrics,
}

#[derive(Deserialize)]
struct Image {
    pixels: Vec<f32>,
}

#[derive(Serialize)]
struct Classes {
    probabilities: Vec<f32>,
}

#[derive(Serialize)]
struct Reloaded {
    version: u64,
}

type Refusal = (StatusCode, String);

impl Server {
    /// Loads the model for the first time.
    pub fn open(path: impl Into<PathBuf>) -> Result<Arc<Self>, String> {
        let path = path.into();
        let model = Loaded::open(&path)?;
        Ok(Arc::new(Self {
            path,
            model: ArcSwap::from_pointee(model),
            version: AtomicU64::new(1),
            metrics: Metrics::default(),
        }))
    }

    /// Loads the file again and replaces the model.
    fn reload(&self) -> Result<u64, String> {
        let model = Arc::new(Loaded::open(&self.path)?);
        let version = self.version.fetch_add(1, Relaxed) + 1;
        let shown = Arc::clone(&model);
        let parameters = move || shown.parameters() as f64;
        if cfg!(feature = "leaky") {
            // One gauge for each version. Old gauges are never removed, and each owns its model.
            let name = format!("model_parameters{{version=\"{version}\"}}");
            self.metrics.gauge(name, parameters);
        } else {
            self.metrics.gauge("model_parameters".into(), parameters);
        }
        self.model.store(model);
        Ok(version)
    }
}

/// The routes of a server.
pub fn app(server: Arc<Server>) -> Router {
    Router::new()
        .route("/predict", post(predict))
        .route("/reload", post(reload))
        .route("/metrics", get(metrics))
        .with_state(server)
}

async fn predict(
    State(server): State<Arc<Server>>,
    Json(image): Json<Image>,
) -> Result<Json<Classes>, Refusal> {
    if image.pixels.len() != PIXELS {
        let wrong = format!("expected {PIXELS} pixels, got {}", image.pixels.len());
        return Err((StatusCode::UNPROCESSABLE_ENTITY, wrong));
    }
    let probabilities = server.model.load_full().predict(image.pixels);
    Ok(Json(Classes { probabilities }))
}

async fn reload(State(server): State<Arc<Server>>) -> Result<Json<Reloaded>, Refusal> {
    // Reading a file on this thread would block its other requests.
    let reloaded = tokio::task::spawn_blocking(move || server.reload()).await;
    let reloaded = reloaded.unwrap_or_else(|panicked| Err(panicked.to_string()));
    match reloaded {
        Ok(version) => Ok(Json(Reloaded { version })),
        Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, error)),
    }
}

async fn metrics(State(server): State<Arc<Server>>) -> String {
    server.metrics.text()
}
