import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.Types;
import java.util.ArrayList;
import java.util.List;

/** The calls of java.sql.DatabaseMetaData that Metabase and Looker make when they synchronise, and their kind of queries. */
final class Metadata {
    public static void main(String[] args) throws Exception {
        try (Connection connection = DriverManager.getConnection(args[0])) {
            connection.setReadOnly(true);
            DatabaseMetaData meta = connection.getMetaData();
            expect("PostgreSQL", meta.getDatabaseProductName());
            expect(15, meta.getDatabaseMajorVersion());
            expect(true, column(meta.getSchemas(), "TABLE_SCHEM").contains("dwh"));
            column(meta.getCatalogs(), "TABLE_CAT");
            column(meta.getTableTypes(), "TABLE_TYPE");
            String[] types = {"TABLE", "PARTITIONED TABLE", "VIEW", "FOREIGN TABLE", "MATERIALIZED VIEW"};
            List<String> tables = column(meta.getTables(null, "dwh", "%", types), "TABLE_NAME");
            expect(List.of("currencies", "fact_payments"), tables);
            try (ResultSet columns = meta.getColumns(null, "dwh", "fact_payments", null)) {
                int found = 0;
                while (columns.next()) {
                    found++;
                    if (columns.getString("COLUMN_NAME").equals("amount")) {
                        expect(Types.NUMERIC, columns.getInt("DATA_TYPE"));
                        expect(18, columns.getInt("COLUMN_SIZE"));
                        expect(4, columns.getInt("DECIMAL_DIGITS"));
                    }
                }
                expect(5, found);
            }
            column(meta.getPrimaryKeys(null, "dwh", "fact_payments"), "COLUMN_NAME");
            column(meta.getImportedKeys(null, "dwh", "fact_payments"), "FKCOLUMN_NAME");
            column(meta.getIndexInfo(null, "dwh", "fact_payments", false, true), "INDEX_NAME");
            connection.setAutoCommit(false);
            // More than five times: the driver prepares it on the server, and reads binary values.
            for (int round = 0; round < 8; round++) {
                String text = "select payment, amount, created_at from dwh.fact_payments where payment = ? and currency = ?";
                try (PreparedStatement statement = connection.prepareStatement(text)) {
                    statement.setLong(1, 1);
                    statement.setString(2, "EUR");
                    statement.setFetchSize(1);
                    try (ResultSet rows = statement.executeQuery()) {
                        expect(true, rows.next());
                        expect(new BigDecimal("12.3400"), rows.getBigDecimal(2));
                        expect(true, rows.getTimestamp(3) != null);
                        expect(false, rows.next());
                    }
                }
            }
            connection.commit();
        }
        System.out.println("done");
    }

    private static List<String> column(ResultSet rows, String name) throws Exception {
        List<String> found = new ArrayList<>();
        try (rows) {
            while (rows.next()) {
                found.add(rows.getString(name));
            }
        }
        return found;
    }

    private static void expect(Object wanted, Object found) {
        if (!wanted.equals(found)) {
            throw new AssertionError("wanted " + wanted + ", found " + found);
        }
    }
}
