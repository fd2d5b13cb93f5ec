//! STOMP on the same WebSocket API: what its clients say and hear, and what is refused.

mod connecting;
mod frames;
mod people;
mod resuming;
mod rooms;
mod subscribing;
