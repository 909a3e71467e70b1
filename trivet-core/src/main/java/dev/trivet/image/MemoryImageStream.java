package dev.trivet.image;

import javax.imageio.stream.ImageInputStreamImpl;

/** Bytes in memory as an ImageIO stream, without ImageIO's caches; it remembers whether a reader ran past the end. */
final class MemoryImageStream extends ImageInputStreamImpl {
    private final byte[] bytes;
    private boolean overrun;

    MemoryImageStream(byte[] bytes) {
        this.bytes = bytes;
    }

    /** Whether more bytes were asked for when none were left. */
    boolean overrun() {
        return overrun;
    }

    @Override
    public int read() {
        bitOffset = 0;
        if (streamPos >= bytes.length) {
            overrun = true;
            return -1;
        }
        return bytes[(int) streamPos++] & 0xff;
    }

    @Override
    public int read(byte[] target, int offset, int length) {
        bitOffset = 0;
        if (length == 0) {
            return 0;
        }
        if (streamPos >= bytes.length) {
            overrun = true;
            return -1;
        }
        int n = (int) Math.min(length, bytes.length - streamPos);
        System.arraycopy(bytes, (int) streamPos, target, offset, n);
        streamPos += n;
        return n;
    }

    @Override
    public long length() {
        return bytes.length;
    }
}
