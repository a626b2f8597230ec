/**
 * Settings of the server, given on its command line at each start, so that a release can change them for
 * clusters that exist. Sized for a laptop that has other things to do.
 */
export const serverSettings: Readonly<Record<string, string>> = {
  listen_addresses: '127.0.0.1',
  // Socket paths are limited to about 100 bytes and a clone may lie deep; TCP is all that we use.
  unix_socket_directories: '',
  max_connections: '200',
  shared_buffers: '128MB',
  // Our statements are short; compiling them costs more than it saves.
  jit: 'off',
  synchronous_commit: 'on',
  wal_compression: 'on',
  max_wal_size: '1GB',
  checkpoint_timeout: '15min',
  timezone: 'UTC',
  log_timezone: 'UTC',
  lc_messages: 'C',
  // Seven files, one for each weekday, each overwritten a week later.
  logging_collector: 'on',
  log_directory: 'log',
  log_filename: 'postgres-%a.log',
  log_rotation_age: '1d',
  log_rotation_size: '0',
  log_truncate_on_rotation: 'on',
  log_file_mode: '0600',
  log_min_messages: 'warning',
  log_line_prefix: '%m [%p] ',
}
