//! `serving MODEL [ADDRESS]`: serves the model in a burnpack file over HTTP.

use std::process::ExitCode;

use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let Some(path) = args.next() else {
        eprintln!("usage: serving MODEL [ADDRESS]");
        return ExitCode::from(2);
    };
    let address = args.next().unwrap_or_else(|| "127.0.0.1:8080".into());
    match serve(path, &address).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("serving: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(path: String, address: &str) -> Result<(), String> {
    let server = serving::Server::open(path)?;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|e| format!("cannot listen at {address}: {e}"))?;
    let stopped = async {
        // If the signal cannot be awaited, the server runs until it is killed.
        let _ = tokio::signal::ctrl_c().await;
    };
    axum::serve(listener, serving::app(server))
        .with_graceful_shutdown(stopped)
        .await
        .map_err(|e| e.to_string())
}
