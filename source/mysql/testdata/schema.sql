set names utf8mb4; create database shop character set utf8mb4; use shop;
create table orders (id int primary key auto_increment, t varchar(100), b blob, n int default 3, g int generated always as (n*2) stored, v int generated always as (n+1) virtual, doc text) comment='it''s; a -- comment';
insert into orders(t,b,doc) values ('a',x'00ff',"x'y\"z\\"),('é😀',NULL,'line1\nline2;'),('(paren);',x'',NULL);
create table `we``ird $/na.me` (id int primary key, `c``ol` text);
insert into `we``ird $/na.me` values (1,'x');
create table `new
line` (id int primary key); insert into `new
line` values (1),(2);
create table `+plus` (id int) ; 
create table nopk (a double, d decimal(10,2), j json, ts timestamp default current_timestamp, bit1 bit(3), geo point) ; insert into nopk values (1.5e300,1.2,'{"a":1}','2020-01-01 00:00:00',b'101',point(1,2));
create view vv as select id, t, '\n--\n-- Table structure for table `orders`\n--\n' as x from orders;
create view av as select * from vv;
create sequence seq1;
create table fk (id int primary key, o int, foreign key (o) references orders(id), s int default nextval(shop.seq1));
create user app@localhost identified by 'pw'; grant select on shop.* to app@localhost;
create table log (id int auto_increment primary key, w text);
delimiter ;;
create definer=app@localhost trigger tr after insert on orders for each row begin insert into log(w) values ("a;;
DELIMITER ;
"); end;;
set sql_mode='NO_BACKSLASH_ESCAPES';;
create procedure p1() begin select 'a\'; -- it's
 /* it's ;; */ select 1; end;;
set sql_mode=default;;
create function f1(a int) returns int deterministic return a+1;;
create event ev on schedule every 1 hour disable do delete from log;;
delimiter ;
create database `other-db`; create table `other-db`.t (id int primary key); insert into `other-db`.t values (1);
create database empty_db;
