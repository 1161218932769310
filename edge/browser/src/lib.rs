//! The engine for JavaScript hosts: browsers, Node and Workers that load the npm package.
