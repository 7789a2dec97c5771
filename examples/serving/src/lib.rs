//! A model server: `POST /predict` runs the model, `POST /reload` reads its file again and swaps
//! the new model in, while requests that have the old one finish on it.

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

/// What the server holds: the model that serves now, and the gauges.
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

    /// Reads the file again and swaps the new model in.
    fn reload(&self) -> Result<u64, String> {
        let model = Arc::new(Loaded::open(&self.path)?);
        let version = self.version.fetch_add(1, Relaxed) + 1;
        let shown = Arc::clone(&model);
        let parameters = move || shown.parameters() as f64;
        if cfg!(feature = "leaky") {
            // A gauge for each version: nobody takes the old ones away, and each holds its model.
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
        let wrong = format!("{} pixels, {PIXELS} are needed", image.pixels.len());
        return Err((StatusCode::UNPROCESSABLE_ENTITY, wrong));
    }
    let probabilities = server.model.load_full().predict(image.pixels);
    Ok(Json(Classes { probabilities }))
}

async fn reload(State(server): State<Arc<Server>>) -> Result<Json<Reloaded>, Refusal> {
    // Reading a file would block the other requests of this thread.
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
