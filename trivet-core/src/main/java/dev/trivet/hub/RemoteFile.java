package dev.trivet.hub;

/**
 * What the hub says of a file.
 *
 * @param commit of the revision that was asked for
 * @param etag SHA-256 of the contents (64 digits) or git's SHA-1 of the blob (40 digits); names the file in the cache
 * @param bytes its length
 */
record RemoteFile(String name, String commit, String etag, long bytes) {}
