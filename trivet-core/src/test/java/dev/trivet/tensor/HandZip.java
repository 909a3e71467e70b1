package dev.trivet.tensor;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.zip.CRC32;
import java.util.zip.Deflater;

/** Zip files put together field by field, so that any field may lie. */
final class HandZip {
    private record Entry(String name, int method, int flags, long crc, long stored, long size, long header) {}

    private final ByteArrayOutputStream out = new ByteArrayOutputStream();
    private final List<Entry> entries = new ArrayList<>();

    /** What {@code torch.save} writes: the pickle, storages 0, 1, ... */
    static HandZip torch(byte[] pickle, byte[]... storages) {
        HandZip zip = new HandZip()
                .add("archive/data.pkl", pickle)
                .add("archive/byteorder", "little".getBytes(StandardCharsets.US_ASCII));
        for (int i = 0; i < storages.length; i++) {
            zip.add("archive/data/" + i, storages[i]);
        }
        return zip;
    }

    HandZip add(String name, byte[] content) {
        return add(name, content, content.length, 0, 0);
    }

    HandZip addDeflated(String name, byte[] content) {
        Deflater deflater = new Deflater(9, true);
        deflater.setInput(content);
        deflater.finish();
        byte[] packed = new byte[content.length + 64];
        int length = deflater.deflate(packed);
        deflater.end();
        return local(name, java.util.Arrays.copyOf(packed, length), 8, 0, crc(content), content.length);
    }

    /** An entry of any method whose directory claims the given size. */
    HandZip add(String name, byte[] stored, long size, int method, int flags) {
        return local(name, stored, method, flags, crc(stored), size);
    }

    HandZip addWithChecksum(String name, byte[] content, long crc) {
        return local(name, content, 0, 0, crc, content.length);
    }

    /** A directory entry of a file that another entry already holds. */
    HandZip again(String name) {
        Entry last = entries.getLast();
        entries.add(new Entry(name, last.method, last.flags, last.crc, last.stored, last.size, last.header));
        return this;
    }

    private static long crc(byte[] content) {
        CRC32 crc = new CRC32();
        crc.update(content);
        return crc.getValue();
    }

    private HandZip local(String name, byte[] stored, int method, int flags, long crc, long size) {
        entries.add(new Entry(name, method, flags, crc, stored.length, size, out.size()));
        byte[] bytes = name.getBytes(StandardCharsets.UTF_8);
        put(4, 0x04034b50);
        put(2, 20, flags, method, 0, 0);
        put(4, crc, stored.length, size);
        put(2, bytes.length, 5);
        out.writeBytes(bytes);
        put(2, 0x4246, 1); // the padding field of torch.save, which shifts the data to an odd place
        out.write(0);
        out.writeBytes(stored);
        return this;
    }

    private void put(int width, long... values) {
        for (long value : values) {
            out.writeBytes(java.util.Arrays.copyOf(
                    ByteBuffer.allocate(8)
                            .order(ByteOrder.LITTLE_ENDIAN)
                            .putLong(value)
                            .array(),
                    width));
        }
    }

    byte[] bytes() {
        return bytes(false, entries.size());
    }

    /**
     * @param wide with a 64-bit directory, to which every 32-bit field defers
     * @param count of entries that the directory claims
     */
    byte[] bytes(boolean wide, long count) {
        long start = out.size();
        long saturated = 0xffff_ffffL;
        for (Entry e : entries) {
            byte[] name = e.name.getBytes(StandardCharsets.UTF_8);
            put(4, 0x02014b50);
            put(2, 45, 45, e.flags, e.method, 0, 0);
            put(4, e.crc, wide ? saturated : e.stored, wide ? saturated : e.size);
            put(2, name.length, wide ? 33 : 0, 0, 0, 0);
            put(4, 0, wide ? saturated : e.header);
            out.writeBytes(name);
            if (wide) {
                put(2, 0x7777, 1); // a field of no meaning comes first
                put(1, 0);
                put(2, 1, 24);
                put(8, e.size, e.stored, e.header);
            }
        }
        long length = out.size() - start;
        if (wide) {
            long end = out.size();
            put(4, 0x06064b50);
            put(8, 44);
            put(2, 45, 45);
            put(4, 0, 0);
            put(8, count, count, length, start);
            put(4, 0x07064b50, 0);
            put(8, end);
            put(4, 1);
        }
        put(4, 0x06054b50);
        put(2, 0, 0, wide ? 0xffff : count, wide ? 0xffff : count);
        put(4, wide ? saturated : length, wide ? saturated : start);
        put(2, 0);
        return out.toByteArray();
    }
}
