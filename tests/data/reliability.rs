//! Files that are damaged or rare: read rightly, or refused by name.

mod damage; // kinds of it
mod damaged; // ten thousand cases, or some
mod inputs; // whole files of every kind
mod jpeg_grid; // JPEG files of every kind against libjpeg-turbo
